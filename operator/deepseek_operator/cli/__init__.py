"""The command `deepseek`: what a resource comes to before it is created, and how it goes in a cluster."""
