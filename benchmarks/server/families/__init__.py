"""The tensors of checkpoints of families with their own layout."""
