"""What the tensors of a checkpoint are, for families that lay them out in ways of their own."""
