"""Catalogue, facts as data: DeepSeek's published models, GPUs, engines, prices and benchmarks."""
