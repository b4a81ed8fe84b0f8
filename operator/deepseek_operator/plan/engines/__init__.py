"""Engines: one module for each, with a common interface."""
