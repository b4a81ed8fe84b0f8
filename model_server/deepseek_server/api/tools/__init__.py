"""How models write tool calls; a module per format."""
