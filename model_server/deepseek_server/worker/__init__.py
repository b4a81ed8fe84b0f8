"""The process that computes, and the one call that starts it."""
