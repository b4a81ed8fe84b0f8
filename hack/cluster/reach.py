"""The way from this machine to a Service of the cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target


@contextmanager
def service_address(target: Target, name: str, namespace: str) -> Iterator[str]:
    """Address of a Service: its own where this machine reaches it, else that of a forward.

    Raises:
        ClusterError: there is no such Service, or it can't be forwarded to.
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
            raise ClusterError(f"kubectl port-forward service/{name} did not work")
        yield words[2]
    finally:
        forward.terminate()
        forward.wait()
