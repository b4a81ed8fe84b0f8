"""What gives a model its caches and runs its steps: see engine.step.Runner."""
