"""Comparisons of the stores with the raw drivers, in one run: ``python -m benchmarks``."""
