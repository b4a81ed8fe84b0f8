"""Strategic merge of podTemplate over the operator's PodSpec, by the merge keys of Kubernetes' API."""

from typing import Any

# Lists whose items are identified by this key.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
# Lists without a key that are appended.
APPENDED = frozenset({"tolerations"})
# Lists whose items are unions, such as the types of volumes: the override decides on the type, and
# fields that it does not have are removed.
CHOICES = frozenset({"volumes", "env"})
# List of alternatives: a node must match one of each side.
ALTERNATIVES = "nodeSelectorTerms"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` merged into it; null in `over` removes a field."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(key, result.get(key), value)
    return result


def _merged(key: str, base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return merge(base, over)
    if isinstance(base, list) and isinstance(over, list):
        if key in APPENDED:
            return base + [item for item in over if item not in base]
        if key in MERGE_KEYS:
            return _merged_list(base, over, MERGE_KEYS[key], choice=key in CHOICES)
        if key == ALTERNATIVES:
            return [_both(one, other) for one in base for other in over]
    return over


def _both(one: Any, other: Any) -> Any:
    """Return the conjunction of two node selector terms."""
    if not isinstance(other, dict):
        return other  # invalid, the API server will reject it
    joined = dict(other)
    for field, wanted in one.items():
        more = other.get(field) or []
        joined[field] = [*wanted, *more] if isinstance(more, list) else more
    return joined


def _merged_list(base: list[Any], over: list[Any], key: str, *, choice: bool) -> list[Any]:
    by_key = {item[key]: item for item in base}
    extra = []
    for item in over:
        name = item.get(key) if isinstance(item, dict) else None
        if isinstance(name, str | int) and name in by_key:
            merged = merge(by_key[name], item)
            by_key[name] = {k: v for k, v in merged.items() if k in item} if choice else merged
        else:
            extra.append(item)
    return [*by_key.values(), *extra]
