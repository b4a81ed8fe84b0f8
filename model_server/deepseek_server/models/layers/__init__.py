"""What takes the place of forwards of transformers' attention modules."""
