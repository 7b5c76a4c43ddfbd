"""Sluice, an event-ingestion gateway that a team runs itself: what both sides share."""

__version__ = "0.1.0"
