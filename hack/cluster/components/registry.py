"""The image registry: images are pushed to it from the host and pulled from it by the node."""

from __future__ import annotations

from hack.cluster.component import Component, Site, answers

PORT = 5000
# The name in image references; containerd's mirror configuration maps it to the registry.
REGISTRY = f"registry.deepseek.local:{PORT}"


def registry(site: Site) -> list[Component]:
    """Return a registry over plain HTTP with persistent data."""
    address = f"{site.addresses.cluster}:{PORT}"
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(site.store / "registry")},
            "delete": {"enabled": True},
        },
        "http": {"addr": address},
    }
    path = site.write_yaml("registry.yaml", configuration)
    command = (site.binary("registry"), "serve", path)
    # Without it, the registry tries to send traces to an address without a listener.
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    ready = answers(f"http://{address}/v2/")
    return [Component("registry", command, probe=ready, environment=environment)]
