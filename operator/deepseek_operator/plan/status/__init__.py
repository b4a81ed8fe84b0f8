"""Conditions, phase, progress and Events of a resource."""
