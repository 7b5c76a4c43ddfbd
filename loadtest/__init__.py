"""Load tests and benchmarks: they speak HTTP and import nothing of Sluice."""
