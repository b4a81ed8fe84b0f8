"""The kernels that we write ourselves, in Triton, and how they are launched."""
