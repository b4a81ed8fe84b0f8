"""LeaderWorkerSet: its API, its webhooks, and its controller as a process beside the others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.component import Component, Site, answers

NAMESPACE = "lws-system"
USER = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "lws-controller-manager"}
ROLES = ("role.yaml", "role_binding.yaml", "leader_election_role.yaml",
         "leader_election_role_binding.yaml")  # fmt: skip
PORT = 9443


def lws(site: Site) -> list[Component]:
    """The controller, with the manifests of its own module changed to where it runs here."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    config = site.files("lws") / "config"
    crds = [document for path in config.glob("crd/bases/*.yaml") for document in _load(path)]
    roles = [_bound(document) for name in ROLES for document in _load(config / "rbac" / name)]
    webhooks = [_reached(site, document) for document in _load(config / "webhook/manifests.yaml")]
    settings = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {
            "host": str(site.addresses.cluster),
            "port": PORT,
            "certDir": str(site.state.pki / "lws-webhook"),
        },
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "127.0.0.1:8443"},
    }
    command = (
        site.binary("lws"),
        f"--config={site.write_yaml('lws.yaml', settings)}",
        f"--kubeconfig={site.kubeconfig('lws')}",
    )
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    established = ("wait", "--for=condition=Established", *names, "--timeout=60s")
    return [
        site.apply("lws-api", namespace, *crds, *roles, *webhooks, after=("kube-apiserver",)),
        Component("lws-kinds", site.kubectl(*established), after=("lws-api",)),
        Component(
            "lws", command, after=("lws-kinds",), probe=answers("http://127.0.0.1:8081/readyz")
        ),
    ]


def _load(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _bound(document: dict[str, Any]) -> dict[str, Any]:
    """A role under a name of its own, bound to the user that the controller is."""
    metadata = {"name": f"lws-{document['metadata']['name']}"}
    if document["kind"] in ("Role", "RoleBinding"):
        metadata["namespace"] = NAMESPACE
    changed = document | {"metadata": metadata}
    if "roleRef" in changed:
        changed["roleRef"] = changed["roleRef"] | {"name": f"lws-{changed['roleRef']['name']}"}
        changed["subjects"] = [USER]
    return changed


def _reached(site: Site, document: dict[str, Any]) -> dict[str, Any]:
    """A webhook configuration that leads to the process instead of to a pod."""
    authority = base64.b64encode(Path(site.cert("ca")).read_bytes()).decode()
    webhooks = []
    for webhook in document["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        url = f"https://{site.addresses.cluster}:{PORT}{path}"
        changed = webhook | {"clientConfig": {"url": url, "caBundle": authority}}
        if path.endswith("v1-pod"):
            # As its installation does it: only pods of a LeaderWorkerSet pass through.
            own = {"key": "leaderworkerset.sigs.k8s.io/name", "operator": "Exists"}
            changed["objectSelector"] = {"matchExpressions": [own]}
        webhooks.append(changed)
    name = f"lws-{document['metadata']['name']}"
    return document | {"metadata": {"name": name}, "webhooks": webhooks}
