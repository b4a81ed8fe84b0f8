"""The cluster's components, one file per program or group of programs that belong together."""

from __future__ import annotations

from hack.cluster.component import Component, Site
from hack.cluster.components import (
    control_plane,
    dns,
    istio,
    kueue,
    kwok,
    lws,
    netpol,
    node,
    registry,
)


def describe(site: Site) -> list[Component]:
    """Write the configuration of the requested parts and return their components."""
    parts = {
        "api": [control_plane.etcd, control_plane.api_server],
        "controllers": [control_plane.controllers],
        "node": [node.runtime, node.kubelet, node.proxy, node.devices, dns.dns],
        "registry": [registry.registry],
        "kwok": [kwok.kwok],
        "lws": [lws.lws],
        "kueue": [kueue.kueue],
        "istio": [istio.istio],
        "netpol": [netpol.netpol],
    }
    return [
        component
        for part in site.request.parts
        for describes in parts[part]
        for component in describes(site)
    ]
