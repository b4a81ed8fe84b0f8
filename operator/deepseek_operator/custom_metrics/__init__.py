"""Server of the API custom.metrics.k8s.io, from which autoscalers read the load of pods.

Every replica of the operator can serve it, because it reads all data on demand. `server` serves
`api`, which authenticates callers with `front_proxy`, authorizes them with `access`, and reads the
load with `load`. Only the leader writes: the certificate (`serving`) and the APIService that
registers the server (`registration`).
"""
