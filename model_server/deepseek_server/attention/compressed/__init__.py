"""Attention over a sliding window and over entries that each compress several tokens."""
