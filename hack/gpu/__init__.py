"""Checks that need a GPU and are run by hand: `python -m tests.gpu.<name>`."""
