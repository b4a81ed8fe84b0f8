"""From logits to tokens, and what requests ask of that."""
