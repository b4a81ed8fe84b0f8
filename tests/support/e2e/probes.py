"""Pods that respond with their names and send requests, for tests of the network between pods."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hack.cluster.faults import ClusterError
from tests.support.kube import Kube, Object

PORT = 8080


def probe(name: str, image: str, port: int = PORT, **labels: str) -> tuple[Object, Object]:
    """Return a service account and a pod that uses it and serves its own name."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    container = {
        "name": "probe",
        "image": image,
        "args": ["serve", str(port)],
        "ports": [{"containerPort": port, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"probe": name, **labels}},
        "spec": {
            "serviceAccountName": name,
            "containers": [container],
            "terminationGracePeriodSeconds": 1,
        },
    }
    return account, pod


def service(name: str, **selector: str) -> Object:
    """Return a Service for the pods with these labels."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": selector,
            # Istio treats an unnamed port as TCP.
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    }


def ask(kube: Kube, client: str, url: str, *headers: str, count: int = 1) -> Counter[str]:
    """Send requests from a pod; count the responses by status and first line, or 'failed'."""
    command = ("exec", client, "--container=probe", "--", "/probe", "ask", str(count), url)
    try:
        text = kube.run(*command, *headers)
    except ClusterError as error:
        raise AssertionError(str(error)) from error
    lines = text.splitlines()
    return Counter("failed" if line.startswith("failed") else line for line in lines)


def wait_ready(kube: Kube, *pods: str) -> None:
    """Wait until pods are Ready."""
    names = [f"pod/{name}" for name in pods]
    kube.run("wait", "--for=condition=Ready", *names, "--timeout=120s")


def policy(name: str, selected: dict[str, Any], **spec: Any) -> Object:
    """Return a NetworkPolicy for the pods with the labels `selected`."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": selected}, **spec},
    }
