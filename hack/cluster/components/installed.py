"""What a controller's own manifests become where it is a process beside the API server, not a pod."""

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
        name: Before the names of what every installation calls the same.
        namespace: Where it believes to be.
        user: As whom it speaks to the API server.
        port: Where it answers the API server's webhooks.
    """

    name: str
    namespace: str
    user: str
    port: int

    def own_namespace(self) -> Object:
        """The namespace for what it keeps."""
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}

    def bound(self, document: Object) -> Object:
        """A role under a name of its own, bound to the user that the controller is."""
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
        """A webhook configuration that leads to the process.

        Args:
            site: Where the cluster is.
            document: As the controller's module has it.
            narrowed: Selectors by the URL path of a webhook.
        """
        webhooks = []
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            changed = webhook | {"clientConfig": self.reached(site, path)}
            webhooks.append(changed | narrowed(path))
        name = f"{self.name}-{document['metadata']['name']}"
        return document | {"metadata": {"name": name}, "webhooks": webhooks}

    def converted(self, site: Site, crd: Object) -> Object:
        """A CRD whose versions the controller converts into each other."""
        how = {
            "clientConfig": self.reached(site, "/convert"),
            "conversionReviewVersions": ["v1"],
        }
        conversion = {"strategy": "Webhook", "webhook": how}
        return crd | {"spec": crd["spec"] | {"conversion": conversion}}

    def settings(self, site: Site, version: str, health: int, metrics: int) -> Object:
        """Its configuration file, of an API version, with the ports on which it tells how it is."""
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
        """How the API server reaches it."""
        authority = base64.b64encode(Path(site.cert("ca")).read_bytes()).decode()
        url = f"https://{site.addresses.cluster}:{self.port}{path}"
        return {"url": url, "caBundle": authority}


def documents(paths: Iterable[Path]) -> list[Object]:
    """All YAML documents of some files."""
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


def established(site: Site, crds: Iterable[Object]) -> tuple[str, ...]:
    """A command that ends well once the API server serves all of these kinds."""
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    return site.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
