"""Queries to a cluster: its state, and the changes that the operator would make."""
