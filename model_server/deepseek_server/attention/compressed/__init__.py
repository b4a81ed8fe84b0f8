"""Attention over a window of tokens and over entries, each of which many tokens became."""
