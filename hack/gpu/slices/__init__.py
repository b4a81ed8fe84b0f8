"""A slice of a model at its real widths, checked on a GPU: `python -m hack.gpu.slices`."""
