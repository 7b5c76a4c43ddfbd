"""Load tests and benchmarks. What sends load speaks HTTP and imports nothing of Sluice."""
