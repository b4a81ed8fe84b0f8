"""The API custom.metrics.k8s.io, through which autoscalers ask for the load of pods.

Every replica of the operator can answer it: what it needs is asked for at that moment. `server`
serves `api`, which lets in those that `front_proxy` knows and `access` allows, and takes the load
from `load`. Only the replica that leads writes: the certificate (`serving`) and the APIService by
which the API server finds the way here (`registration`).
"""
