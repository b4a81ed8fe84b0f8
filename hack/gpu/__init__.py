"""Checks that need a GPU and are run by hand: `python -m hack.gpu.<name>`."""
