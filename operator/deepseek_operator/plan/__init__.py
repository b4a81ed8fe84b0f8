"""Decisions, without I/O: from a spec and what was observed to what shall be and what to say."""
