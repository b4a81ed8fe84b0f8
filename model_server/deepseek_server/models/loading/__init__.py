"""From a model id or a directory to weights in memory."""
