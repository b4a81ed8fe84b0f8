"""The product's images, built from this tree and made available to the cluster in use."""
