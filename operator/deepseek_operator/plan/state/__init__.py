"""Observed state, settings and the vocabulary of all decisions."""
