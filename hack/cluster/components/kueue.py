"""Kueue: its API, its webhooks, and its controller as a process beside the API server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hack.cluster.component import Component, Site, answers
from hack.cluster.components.installed import Controller, documents, established

CONTROLLER = Controller("kueue", "kueue-system", "kueue-controller-manager", 9444)
ROLES = ("role.yaml", "role_binding.yaml", "leader_election_role.yaml",
         "leader_election_role_binding.yaml", "manager_secrets_role.yaml",
         "manager_secrets_role_binding.yaml")  # fmt: skip
# CRDs whose versions are converted by the controller.
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")
# Kinds that the cluster does not serve need no webhooks.
OWN = ("kueue-x-k8s-io", "leaderworkerset", "v1-pod", "v1-deployment")
# Kueue manages only these namespaces: a failing webhook refuses requests, and other tests of the
# same cluster must not depend on it.
LABEL = "deepseek-operator.io/kueue"


def kueue(site: Site) -> list[Component]:
    """Return the controller, with the manifests of its module, changed to run as a process."""
    config = site.files("kueue") / "config/components"
    crds = [
        CONTROLLER.converted(site, crd) if crd["spec"]["names"]["plural"] in CONVERTED else crd
        for crd in documents(sorted(config.glob("crd/bases/*.yaml")))
    ]
    roles = map(CONTROLLER.bound, documents(config / "rbac" / name for name in ROLES))
    webhooks = [
        CONTROLLER.webhooks(site, _without_others(document), _narrowed)
        for document in documents([config / "webhook/manifests.yaml"])
    ]
    settings = CONTROLLER.settings(site, "config.kueue.x-k8s.io/v1beta2", 8083, 8444)
    settings["integrations"] = {
        "frameworks": ["pod", "deployment", "leaderworkerset.x-k8s.io/leaderworkerset"]
    }
    command = (
        *_with_certificates(site),
        site.binary("kueue"),
        f"--config={site.write_yaml('kueue.yaml', settings)}",
        f"--kubeconfig={site.kubeconfig('kueue')}",
        # A second API server, which only shows pending workloads to users.
        "--feature-gates=VisibilityOnDemand=false",
    )
    api = (CONTROLLER.own_namespace(), *crds, *roles, *webhooks)
    return [
        site.apply("kueue-api", *api, after=("kube-apiserver",)),
        Component("kueue-kinds", established(site, crds), after=("kueue-api",)),
        Component(
            "kueue",
            command,
            # It checks only at startup which kinds exist.
            after=("kueue-kinds", "lws-kinds"),
            probe=answers("http://127.0.0.1:8083/readyz"),
        ),
    ]


def _with_certificates(site: Site) -> tuple[str, ...]:
    """Return a prefix for a command that mounts the certificate of its metrics as in Kueue's pod."""
    upper, work = Path(site.data("kueue/etc")), site.data("kueue/work")
    folder = upper / "kueue/metrics/certs"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (site.state.pki / "kueue-webhook").iterdir():
        shutil.copy(file, folder)
    mount = f"mount -t overlay -o lowerdir=/etc,upperdir={upper},workdir={work} overlay /etc"
    return ("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh")


def _without_others(document: dict[str, Any]) -> dict[str, Any]:
    own = [
        webhook
        for webhook in document["webhooks"]
        if any(part in webhook["clientConfig"]["service"]["path"] for part in OWN)
    ]
    return document | {"webhooks": own}


def _narrowed(path: str) -> dict[str, Any]:
    if "kueue-x-k8s-io" in path:
        return {}
    return {"namespaceSelector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}}
