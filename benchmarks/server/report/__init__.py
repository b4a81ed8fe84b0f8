"""Measured figures beside their floors, as lines and tables."""
