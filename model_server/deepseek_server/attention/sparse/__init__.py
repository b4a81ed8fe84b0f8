"""Sparse attention: an indexer scores the cached tokens, the best of them are attended to."""
