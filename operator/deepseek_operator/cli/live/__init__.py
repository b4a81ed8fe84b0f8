"""Questions to a cluster: what it has, and what the operator would write there."""
