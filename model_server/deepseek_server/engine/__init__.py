"""Token generation: the interface of an engine, and its implementation."""
