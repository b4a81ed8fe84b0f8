"""Access from this machine to a Service of the cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target


@contextmanager
def service_address(target: Target, name: str, namespace: str) -> Iterator[str]:
    """Yield the address of a Service: its own if it is reachable, else that of a port-forward.

    Raises:
        ClusterError: the Service does not exist, or port-forwarding failed.
    """
    scope = ("--namespace", namespace)
    if target.kind == "embedded":
        yield kubectl(target, *scope, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
        return
    program = (str(target.kubectl), "--kubeconfig", str(target.kubeconfig))
    forward = subprocess.Popen(
        [*program, *scope, "port-forward", f"service/{name}", ":80"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forward.stdout is not None
        # "Forwarding from 127.0.0.1:43210 -> 8000"
        words = forward.stdout.readline().split()
        if len(words) < 3:
            raise ClusterError(f"kubectl port-forward service/{name} failed")
        yield words[2]
    finally:
        forward.terminate()
        forward.wait()
