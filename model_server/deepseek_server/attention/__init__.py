"""Attention over the paged cache: what a step asks for, and one file for each way to compute it."""
