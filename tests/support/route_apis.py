"""The real CustomResourceDefinitions of Istio, Gateway API and cert-manager, without controllers."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import yaml

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from hack.cluster.toolchain import build
from tests.support.kube import eventually, wait_until_served

GROUP = "route-apis"
# For each project: the path of its CRDs in the module's source, and those that the operator uses.
ISTIO = (
    "manifests/charts/base/files/crd-all.gen.yaml",
    (
        "virtualservices.networking.istio.io",
        "destinationrules.networking.istio.io",
        "gateways.networking.istio.io",
        "peerauthentications.security.istio.io",
        "requestauthentications.security.istio.io",
        "authorizationpolicies.security.istio.io",
    ),
)
GATEWAY_API = (
    "config/crd/standard/*.yaml",
    ("gateways.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io"),
)
CERT_MANAGER = ("deploy/crds/*.yaml", ("certificates.cert-manager.io",))
ALL = (ISTIO, GATEWAY_API, CERT_MANAGER)

Api = tuple[str, tuple[str, ...]]


def _definitions(api: Api) -> list[dict[str, Any]]:
    pattern, names = api
    files = (build([GROUP])[GROUP] / "files").glob(pattern)
    documents = (item for path in files for item in yaml.safe_load_all(path.read_text()))
    found = [item for item in documents if item and item["metadata"]["name"] in names]
    assert len(found) == len(names), pattern
    return found


def install(target: Target, *apis: Api) -> None:
    """Install these APIs in an API server, as their projects' installations do."""
    for api in apis:
        text = "\n---\n".join(json.dumps(item) for item in _definitions(api))
        kubectl(target, "apply", "--server-side", "--filename", "-", text=text)
        wait_until_served(target, *api[1])


def remove(target: Target, *apis: Api) -> None:
    """Remove these APIs from an API server."""
    names = [f"crd/{name}" for api in apis for name in api[1]]
    kubectl(target, "delete", "--ignore-not-found", "--wait=false", *names)

    def gone() -> bool:
        left = kubectl(target, "get", "--ignore-not-found", "--output=name", *names).split()
        # An API server that is still preparing a kind gives up its removal ("storage is
        # (re)initializing") and does not retry it by itself.
        if left:
            time.sleep(3)
            for poke in ("tests/poke=again", "tests/poke-"):
                with suppress(ClusterError):  # one of them is gone already
                    kubectl(target, "annotate", "--overwrite", *left, poke)
        return not left

    eventually("the APIs are gone", gone)
