"""Consumers: pull envelopes from the queue and feed destinations."""
