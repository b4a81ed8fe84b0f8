"""Generation of tokens: what an engine promises, and the engine."""
