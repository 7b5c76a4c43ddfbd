"""Pure: no I/O, clock, randomness or asyncio."""
