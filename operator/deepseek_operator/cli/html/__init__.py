"""HTML pages of results: one self-contained file each."""
