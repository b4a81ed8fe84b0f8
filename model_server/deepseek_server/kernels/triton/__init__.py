"""Our own kernels, in Triton, and their launchers."""
