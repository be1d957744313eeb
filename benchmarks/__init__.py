"""Figures, each measured as a ratio in one run: ``python -m benchmarks NAME``."""
