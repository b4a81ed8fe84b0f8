"""Rolling updates of one set of pods, and room for them on nodes."""
