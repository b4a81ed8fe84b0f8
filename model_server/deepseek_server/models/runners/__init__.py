"""Runners, which allocate a model's caches and run its steps: see engine.runner.Runner."""
