"""From a model id or a directory to a loaded transformers model."""
