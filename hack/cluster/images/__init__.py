"""The product's images, built from this tree and handed to the cluster that is in use."""
