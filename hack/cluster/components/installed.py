"""Adaptation of a controller's manifests to a process beside the API server instead of a pod."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.component import Site

Object = dict[str, Any]


@dataclass(frozen=True)
class Controller:
    """A controller that runs as a process.

    Attributes:
        name: Prefix of names that are the same in every installation.
        namespace: Its namespace.
        user: Its user at the API server.
        port: Port of its webhooks.
    """

    name: str
    namespace: str
    user: str
    port: int

    def own_namespace(self) -> Object:
        """Return the namespace of its own objects."""
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}

    def bound(self, document: Object) -> Object:
        """Return a role with a prefixed name, bound to the controller's user."""
        metadata = {"name": f"{self.name}-{document['metadata']['name']}"}
        if document["kind"] in ("Role", "RoleBinding"):
            metadata["namespace"] = self.namespace
        changed = document | {"metadata": metadata}
        if "roleRef" in changed:
            role = changed["roleRef"]
            changed["roleRef"] = role | {"name": f"{self.name}-{role['name']}"}
            group = "rbac.authorization.k8s.io"
            changed["subjects"] = [{"apiGroup": group, "kind": "User", "name": self.user}]
        return changed

    def webhooks(self, site: Site, document: Object, narrowed: Callable[[str], Object]) -> Object:
        """Return a webhook configuration that points to the process.

        Args:
            site: Paths and addresses of the cluster.
            document: The configuration of the controller's module.
            narrowed: Returns the selectors for the URL path of a webhook.
        """
        webhooks = []
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            changed = webhook | {"clientConfig": self.reached(site, path)}
            webhooks.append(changed | narrowed(path))
        name = f"{self.name}-{document['metadata']['name']}"
        return document | {"metadata": {"name": name}, "webhooks": webhooks}

    def converted(self, site: Site, crd: Object) -> Object:
        """Return a CRD with conversion of versions by the controller."""
        how = {
            "clientConfig": self.reached(site, "/convert"),
            "conversionReviewVersions": ["v1"],
        }
        conversion = {"strategy": "Webhook", "webhook": how}
        return crd | {"spec": crd["spec"] | {"conversion": conversion}}

    def settings(self, site: Site, version: str, health: int, metrics: int) -> Object:
        """Return its configuration file of an API version, with the ports of health and metrics."""
        return {
            "apiVersion": version,
            "kind": "Configuration",
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "webhook": {
                "host": str(site.addresses.cluster),
                "port": self.port,
                "certDir": str(site.state.pki / f"{self.name}-webhook"),
            },
            "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
            "metrics": {"bindAddress": f"127.0.0.1:{metrics}"},
        }

    def reached(self, site: Site, path: str) -> Object:
        """Return the client configuration with which the API server reaches it."""
        authority = base64.b64encode(Path(site.cert("ca")).read_bytes()).decode()
        url = f"https://{site.addresses.cluster}:{self.port}{path}"
        return {"url": url, "caBundle": authority}


def documents(paths: Iterable[Path]) -> list[Object]:
    """Return all YAML documents of files."""
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


def established(site: Site, crds: Iterable[Object]) -> tuple[str, ...]:
    """Return a command that succeeds once the API server serves all of these kinds."""
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    return site.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
