"""Decisions without I/O: from spec and observed state to desired state and status."""
