"""Benchmarks of language model servers: generated models, load, and comparison."""
