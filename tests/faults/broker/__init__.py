"""Faults of a distributed Sluice on Pub/Sub, and the oracle's word on each.

The emulator itself is never killed: it keeps everything in memory, where Google's service would
remember. What is killed and cut instead is the way to it.
"""
