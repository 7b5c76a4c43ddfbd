"""The queue protocol and its backends."""
