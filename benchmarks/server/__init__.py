"""Measures servers of language models: makes models to measure, loads servers, compares."""
