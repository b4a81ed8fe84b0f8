"""Istio: its charts, and istiod as a process beside the API server; sidecars and gateways are pods."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.component import Component, Site, answers
from hack.cluster.components.registry import REGISTRY
from hack.cluster.images import istio_proxy

NAMESPACE = "istio-system"
READY = "127.0.0.1:8082"
# Templates of the chart for istiod's pod, which does not exist here.
POD = {"deployment.yaml", "autoscale.yaml", "poddisruptionbudget.yaml", "service.yaml"}
# Envoy's own builds lack the filters that Istio's build adds.
PLAIN_ENVOY = {
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_DISABLE_MX_ALPN": "true",
    "PILOT_ENABLE_TELEMETRY_LABEL": "false",
}
# A sidecar of a test idles; the chart's 100m would fill a small node with a dozen of them.
PROXY_REQUESTS = {"cpu": "10m", "memory": "40Mi"}


def istio(site: Site) -> list[Component]:
    """Return the CRDs of Istio and of the Gateway API, the chart of istiod, and istiod."""
    files = site.files("istio")
    base = "\n---\n".join(_rendered(site, "istio-base", "manifests/charts/base").values())
    chart = _rendered(site, "istiod", "manifests/charts/istio-control/istio-discovery")
    (service,) = yaml.safe_load_all(chart["service.yaml"])
    api = site.write_yaml("istio-namespace.yaml", _namespace(), *_served_here(site, service))
    objects = "\n---\n".join(text for name, text in chart.items() if name not in POD)
    folders = (api, site.write("istiod.yaml", objects), site.write("istio-base.yaml", base))
    gateways = str(files / "config/crd/standard")
    apply = ("apply", "--server-side", "--force-conflicts", "--filename")
    (deployment,) = yaml.safe_load_all(chart["deployment.yaml"])
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command = (
        # It writes files below its working directory.
        *("env", f"--chdir={site.data('istiod')}", site.binary("istio", "pilot-discovery")),
        *container["args"],
        f"--kubeconfig={site.kubeconfig('istiod')}",
        f"--httpAddr={READY}",
        "--ctrlz_port=0",
    )
    established = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    # istiod signs its own certificate and registers the CA with the API server.
    known = ("wait", "--for=jsonpath={.webhooks[0].clientConfig.caBundle}", "--timeout=60s")
    injector = "mutatingwebhookconfiguration/istio-sidecar-injector"
    return [
        Component(
            "istio-api",
            site.kubectl(*apply, ",".join(folders)),
            after=("kube-apiserver",),
            content=objects,
        ),
        Component("gateway-api", site.kubectl(*apply, gateways), after=("kube-apiserver",)),
        Component("istio-kinds", site.kubectl(*established), after=("istio-api", "gateway-api")),
        Component(
            "istiod",
            command,
            after=("istio-api", "gateway-api"),
            probe=answers(f"http://{READY}/ready"),
            environment=_environment(container["env"]),
        ),
        Component("istio-webhooks", site.kubectl(*known, injector), after=("istiod",)),
    ]


def values(artefact: Path) -> dict[str, Any]:
    """Return the charts' values: our image, and an Envoy without Istio's own filters."""
    return {
        "global": {
            "hub": REGISTRY,
            "tag": istio_proxy.tag(artefact),
            "proxy": {"image": istio_proxy.NAME, "resources": {"requests": PROXY_REQUESTS}},
            "proxy_init": {"image": istio_proxy.NAME},
        },
        "env": PLAIN_ENVOY,
        "meshConfig": {"defaultProviders": {"metrics": []}},
    }


def _environment(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Return the environment of istiod's container, with the fields of a pod filled in."""
    environment = {entry["name"]: entry["value"] for entry in entries if "value" in entry}
    del environment["KUBECONFIG"]
    return environment | {
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "istiod",
        "SERVICE_ACCOUNT": "istiod",
    }


def _rendered(site: Site, release: str, chart: str) -> dict[str, str]:
    """Return a chart's objects as YAML, by the name of their template."""
    artefact = Path(site.request.artefacts["istio"])
    command = (
        *(site.binary("helm"), "template", release, str(artefact / "files" / chart)),
        *("--namespace", NAMESPACE),
        *("--values", site.write_yaml("istio-values.yaml", values(artefact))),
    )
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return by_template(text)


def by_template(rendered: str) -> dict[str, str]:
    """Split Helm's output by the comment above each object, which names its template."""
    found: dict[str, str] = {}
    for document in re.split(r"^---\n", rendered, flags=re.MULTILINE):
        source = re.match(r"# Source: \S*/(\S+)\n", document)
        if source:
            before = f"{found[source[1]]}\n---\n" if source[1] in found else ""
            found[source[1]] = before + document.rstrip("\n")
    return found


def _namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _served_here(site: Site, service: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the chart's Service with endpoints of the process instead of pods."""
    ports = service["spec"]["ports"]
    spec = {"ports": ports}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "istiod",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "istiod"},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": port["name"], "port": port.get("targetPort", port["port"])} for port in ports
        ],
        "endpoints": [{"addresses": [str(site.addresses.cluster)]}],
    }
    return service | {"spec": spec}, endpoints
