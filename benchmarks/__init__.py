"""Benchmarks of relfunc beside the plain input gradient and Zennit: ``python -m benchmarks``."""
