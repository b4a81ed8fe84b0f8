"""The HTTP server process: port, life cycle, keys and limits."""
