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
            return _merged_list(base, over, MERGE_KEYS[key])
    return over


def _merged_list(base: list[Any], over: list[Any], key: str) -> list[Any]:
    by_key = {item[key]: item for item in base}
    extra = []
    for item in over:
        name = item.get(key) if isinstance(item, dict) else None
        if name in by_key:
            by_key[name] = merge(by_key[name], item)
        else:
            extra.append(item)
    return [*by_key.values(), *extra]
