"""How many GPUs of which kind a replica needs, and what it asks of its node."""
