"""Validation of `podTemplate`: fields that the operator needs must not be changed.

All other fields are the user's; the API server refuses what is not a valid pod.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deepseek_operator.api.engine import Engine
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.plan.state.labels import PREFIX, labels

SERVER = "server"
PORT_NAME, PORT = "http", 8000
# Environment variables for proxies, in upper or lower case.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
KEYS_VOLUME = "api-keys-file"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
HANDLERS = frozenset({"httpGet", "exec", "tcpSocket", "grpc"})

Object = Mapping[str, Any]

# Lists that are merged by name, so each item needs one.
NAMED = ("containers", "initContainers", "volumes")
# Fields of the pod that are set elsewhere: field, what to write instead.
POD_FIELDS = {
    "replicas": "Set spec.replicas.",
    "hostNetwork": (
        "On the host network replicas would conflict on port 8000, and no NetworkPolicy would apply "
        "to them. Remove it."
    ),
}
# Fields of the container `server` that are set elsewhere.
SERVER_FIELDS = {
    "image": "Set spec.engine.image.",
    "command": "Set spec.engine.type, or spec.engine.image to an image with your entrypoint.",
    "args": "Set spec.engine.args, which are appended to the operator's own.",
}
VOLUMES = {
    "config": "It holds the model server's config file; give your volume another name.",
    "weights": "Set spec.model.source, or give your volume another name.",
    KEYS_VOLUME: "Set spec.security.apiKeys, or give your volume another name.",
}
MOUNTS = {
    "/etc/deepseek": "The model server's config file is there; mount yours elsewhere.",
    "/etc/deepseek-keys": "The API keys of spec.security.apiKeys are there; mount yours elsewhere.",
    "/models": "The weights are there; set spec.model.source, or mount yours elsewhere.",
}


def conflict(template: PodTemplate) -> str | None:
    """Return the first conflict and what to write instead, None if there is none."""
    for check in CHAIN:
        if problem := check(template):
            return problem
    return None


def limits(template: PodTemplate) -> Object:
    """Return the limits that override those of the model server's container."""
    return _object(_object(_server(template), "resources"), "limits")


def proxies(template: PodTemplate, engine: Engine) -> list[str]:
    """Return the URLs of the proxies that the model server is configured to use."""
    variables = [
        (str(item.get("name")), item.get("value")) for item in _items(_server(template), "env")
    ]
    variables += [(variable.name, variable.value) for variable in engine.env]
    return [str(value) for name, value in variables if name.upper() in PROXY_VARIABLES and value]


def _labels_are_free(template: PodTemplate) -> str | None:
    metadata = template.metadata
    for field, names in (("labels", metadata.labels), ("annotations", metadata.annotations)):
        taken = sorted(name for name in names if name.startswith(PREFIX) or name in labels(""))
        if taken:
            return (
                f"podTemplate.metadata.{field} must not set {', '.join(taken)}: reserved for the "
                "operator, which selects its pods by it. Remove it."
            )
    return None


def _items_have_names(template: PodTemplate) -> str | None:
    for field in NAMED:
        items = template.spec.get(field, [])
        if not isinstance(items, list) or not all(
            isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in items
        ):
            return (
                f"podTemplate.spec.{field} must be a list of objects with a name each. Add the names; "
                "the model server's container is named server."
            )
        names = [item["name"] for item in items]
        if len(set(names)) < len(names):
            return (
                f"podTemplate.spec.{field} has two items with the same name. Merge them into one."
            )
    return None


def _pod_fields_are_free(template: PodTemplate) -> str | None:
    for field, instead in POD_FIELDS.items():
        value = template.spec.get(field)
        if value is not None and value is not False:
            return f"podTemplate.spec.{field} must not be set. {instead}"
    return None


def _volumes_are_free(template: PodTemplate) -> str | None:
    for volume in _items(template.spec, "volumes"):
        if instead := VOLUMES.get(volume["name"]):
            return f"podTemplate.spec.volumes must not set {volume['name']}. {instead}"
    return None


def _server_fields_are_free(template: PodTemplate) -> str | None:
    server = _server(template)
    for field, instead in SERVER_FIELDS.items():
        if field in server:
            return f"{field} of container server in podTemplate.spec must not be set. {instead}"
    for part in ("limits", "requests"):
        requested = _object(_object(server, "resources"), part)
        for resource in sorted(accelerators().resources & requested.keys()):
            return (
                f"resources.{part} of container server in podTemplate.spec must not set {resource}. "
                "Set spec.accelerator.count."
            )
    return None


def _mounts_are_free(template: PodTemplate) -> str | None:
    for mount in _items(_server(template), "volumeMounts"):
        path = str(mount.get("mountPath", "")).rstrip("/")
        if instead := MOUNTS.get(path):
            return f"volumeMounts of container server in podTemplate.spec must not set {path}. {instead}"
    return None


def _port_is_kept(template: PodTemplate) -> str | None:
    server = _server(template)
    if "ports" in server and not isinstance(server["ports"], list):
        return (
            "ports of container server in podTemplate.spec must be a list: the Service needs its "
            "port http. List only additional ports."
        )
    for container in _items(template.spec, "containers"):
        for port in _items(container, "ports"):
            number, name = port.get("containerPort"), port.get("name")
            if (name == PORT_NAME) != (number == PORT) or (
                number == PORT and container["name"] != SERVER
            ):
                return (
                    f"ports of container {container['name']} in podTemplate.spec must leave "
                    f"{PORT_NAME} and {PORT} to the model server, for its Service and probes. "
                    "Give yours another name and number."
                )
    return None


def _probes_ask_the_server(template: PodTemplate) -> str | None:
    server = _server(template)
    if "readinessProbe" in server and server["readinessProbe"] is None:
        return (
            "readinessProbe of container server in podTemplate.spec must not be removed: a pod that "
            "is still loading its model would receive requests. Change only its times."
        )
    for name in PROBES:
        if taken := sorted(HANDLERS & _object(server, name).keys()):
            return (
                f"{name} of container server in podTemplate.spec must not set {taken[0]}: the "
                "operator sets the request of the probe. Change only its times."
            )
    return None


CHAIN: tuple[Callable[[PodTemplate], str | None], ...] = (
    _labels_are_free,
    _items_have_names,
    _pod_fields_are_free,
    _volumes_are_free,
    _server_fields_are_free,
    _mounts_are_free,
    _port_is_kept,
    _probes_ask_the_server,
)


def _server(template: PodTemplate) -> Object:
    """Return the overrides of the model server's container, {} if there are none."""
    containers = _items(template.spec, "containers")
    return next((item for item in containers if item.get("name") == SERVER), {})


def _items(parent: Object, field: str) -> Iterator[Object]:
    """Yield the objects of a list field; ignore values of other types."""
    items = parent.get(field)
    return (
        (item for item in items if isinstance(item, Mapping))
        if isinstance(items, list)
        else iter(())
    )


def _object(parent: Object, field: str) -> Object:
    value = parent.get(field)
    return value if isinstance(value, Mapping) else {}
