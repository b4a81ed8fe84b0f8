"""A real Kubernetes cluster on one Linux machine, without Docker.

`python -m hack.cluster up` builds what it needs once and starts it in namespaces of its own;
`hack.cluster.target` is what tests, images and the demo use. How it works: docs/cluster.md.
"""
