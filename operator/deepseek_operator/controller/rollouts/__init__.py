"""Canary and blue-green at run time: measurements, trial requests, free GPUs."""
