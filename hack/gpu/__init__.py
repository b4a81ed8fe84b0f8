"""What only a GPU can show; a person runs it there: `python -m hack.gpu.<name>`."""
