"""The command `deepseek`: what a resource comes to, said before anything is created."""
