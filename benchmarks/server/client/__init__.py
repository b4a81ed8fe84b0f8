"""Load on a server: prompts, streams, and the times at which tokens arrive."""
