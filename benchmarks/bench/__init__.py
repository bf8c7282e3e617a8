"""What the benchmarks have in common: processes under measurement, and tables."""
