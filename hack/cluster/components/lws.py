"""LeaderWorkerSet: its API, its webhooks, and its controller as a process beside the API server."""

from __future__ import annotations

from typing import Any

from hack.cluster.component import Component, Site, answers
from hack.cluster.components.installed import Controller, documents, established

CONTROLLER = Controller("lws", "lws-system", "lws-controller-manager", 9443)
ROLES = ("role.yaml", "role_binding.yaml", "leader_election_role.yaml",
         "leader_election_role_binding.yaml")  # fmt: skip


def lws(site: Site) -> list[Component]:
    """Return the controller, with the manifests of its module, changed to run as a process."""
    config = site.files("lws") / "config"
    crds = documents(sorted(config.glob("crd/bases/*.yaml")))
    roles = map(CONTROLLER.bound, documents(config / "rbac" / name for name in ROLES))
    webhooks = [
        CONTROLLER.webhooks(site, document, _narrowed)
        for document in documents([config / "webhook/manifests.yaml"])
    ]
    settings = CONTROLLER.settings(site, "config.lws.x-k8s.io/v1alpha1", 8081, 8443)
    command = (
        site.binary("lws"),
        f"--config={site.write_yaml('lws.yaml', settings)}",
        f"--kubeconfig={site.kubeconfig('lws')}",
    )
    api = (CONTROLLER.own_namespace(), *crds, *roles, *webhooks)
    return [
        site.apply("lws-api", *api, after=("kube-apiserver",)),
        Component("lws-kinds", established(site, crds), after=("lws-api",)),
        Component(
            "lws", command, after=("lws-kinds",), probe=answers("http://127.0.0.1:8081/readyz")
        ),
    ]


def _narrowed(path: str) -> dict[str, Any]:
    """Return the selectors of the original installation: only pods of a LeaderWorkerSet."""
    if not path.endswith("v1-pod"):
        return {}
    own = {"key": "leaderworkerset.sigs.k8s.io/name", "operator": "Exists"}
    return {"objectSelector": {"matchExpressions": [own]}}
