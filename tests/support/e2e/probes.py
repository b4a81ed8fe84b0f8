"""Pods that answer with their names and ask others, for tests of what is between them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hack.cluster.faults import ClusterError
from tests.support.kube import Kube, Object

PORT = 8080


def probe(name: str, image: str, port: int = PORT, **labels: str) -> tuple[Object, Object]:
    """A pod that serves its name, and the account of the same name that it is."""
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
    """A Service that leads to pods with these labels."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": selector,
            # Named, because Istio takes an unnamed port for TCP.
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    }


def ask(kube: Kube, client: str, url: str, *headers: str, count: int = 1) -> Counter[str]:
    """What a pod hears from `url`: how often which status and first line, or 'failed'."""
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
    """A NetworkPolicy about the pods with the labels `selected`."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": selected}, **spec},
    }
