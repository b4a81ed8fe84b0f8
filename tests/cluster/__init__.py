"""A real Kubernetes cluster on one Linux machine, without Docker.

`python -m tests.cluster up` builds the programs once and starts them in separate namespaces. Tests,
images and the demo use `tests.cluster.target`. docs/cluster.md describes the design.
"""
