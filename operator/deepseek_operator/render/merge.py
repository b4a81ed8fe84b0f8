"""Strategic merge of a person's PodSpec over the operator's, by the merge keys of Kubernetes' API."""

from typing import Any

# Lists whose items are one object each, recognised by this key.
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
# Lists without a key where both sides count.
APPENDED = frozenset({"tolerations"})
# Lists whose items hold one of several things, such as the kinds of volumes: what is laid over an
# item decides which, and fields that it does not name are gone.
CHOICES = frozenset({"volumes", "env"})
# A list of alternatives: a node has to fit one of each side.
ALTERNATIVES = "nodeSelectorTerms"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid over it; null in `over` removes a field."""
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
    """A node selector term that holds where both do."""
    if not isinstance(other, dict):
        return other  # no term at all, which the API server will say
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
