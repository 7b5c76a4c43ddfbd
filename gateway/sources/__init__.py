"""Inbound dialects, one module each: bytes to candidates or refusals. Pure: no I/O."""
