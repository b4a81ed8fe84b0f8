"""Rendering of decisions as Kubernetes manifests: one template per kind, no I/O."""
