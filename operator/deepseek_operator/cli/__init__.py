"""The `deepseek` command: plan, check, serve and monitor resources."""
