"""Attention over the paged cache: the interface, and one file for each backend."""
