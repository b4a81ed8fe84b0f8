"""A real Kubernetes cluster on one Linux machine, without Docker.

`python -m hack.cluster up` builds the programs once and starts them in separate namespaces. Tests,
images and the demo use `hack.cluster.target`. docs/cluster.md describes the design.
"""
