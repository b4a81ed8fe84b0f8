"""Checks of nodes and their GPUs."""

from collections import defaultdict
from collections.abc import Iterator

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.cli.doctor.facts import Facts, Object, Objects
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen
from deepseek_operator.plan.rolling.capacity import quantity, tolerated
from deepseek_operator.plan.state.observed import NodeView

# Labels of nodes with GPU hardware, set by node-feature-discovery, NVIDIA's GPU operator or GKE.
HARDWARE = (
    "feature.node.kubernetes.io/pci-10de.present",
    "feature.node.kubernetes.io/pci-0302_10de.present",
    "feature.node.kubernetes.io/pci-0300_10de.present",
    "nvidia.com/gpu.present",
    "cloud.google.com/gke-accelerator",
)
PRODUCT = "nvidia.com/gpu.product"
# Newer and older name of the driver version label.
DRIVER = ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major")
# Minimum driver for CUDA 13, which the images use; https://docs.nvidia.com/deploy/cuda-compatibility/
OLDEST_DRIVER = 580
GPU_OPERATOR = (
    "Install NVIDIA's GPU operator (https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/): "
    "driver, device plug-in and node labels."
)
SHOWN = 4


def devices(node: Object) -> dict[str, int]:
    """Return the number of allocatable GPUs of a node by resource name."""
    offered = node.get("status", {}).get("allocatable") or {}
    found = {name: int(quantity(offered.get(name, 0))) for name in accelerators().resources}
    return {name: number for name, number in found.items() if number}


def offered(facts: Facts) -> Iterator[Finding]:
    """Check that nodes with GPU hardware advertise it as allocatable."""
    check = "GPUs"
    if isinstance(facts.nodes, Unseen):
        yield unseen(check, facts.nodes)
        return
    silent = [node for node in facts.nodes if not devices(node) and _has_hardware(node)]
    if silent:
        message = (
            f"Nodes with GPUs that are not allocatable: {_names(silent)}. "
            "The device plug-in is missing or fails there."
        )
        fix = f"kubectl get pods -A -o wide | grep -i device-plugin. {GPU_OPERATOR}"
        yield Finding(check, "problem", message, fix)
    with_gpus = [node for node in facts.nodes if devices(node)]
    if not with_gpus and not silent:
        message = f"None of {len(facts.nodes)} nodes has GPUs: models run on CPUs, slowly."
        yield Finding(check, "warning", message, GPU_OPERATOR)
    if with_gpus:
        total: dict[str, int] = defaultdict(int)
        for node in with_gpus:
            for name, number in devices(node).items():
                total[name] += number
        counts = ", ".join(f"{number} x {name}" for name, number in sorted(total.items()))
        yield Finding(
            check, "ok", f"{len(with_gpus)} of {len(facts.nodes)} nodes have GPUs: {counts}."
        )


def _has_hardware(node: Object) -> bool:
    labels = _labels(node)
    return any(labels.get(name, "false") != "false" for name in HARDWARE)


def labelled(facts: Facts) -> Iterator[Finding]:
    """Check that node labels identify the GPU type."""
    check = "GPU labels"
    nodes = _with_gpus(facts)
    if not nodes:
        return
    kinds: dict[str, int] = defaultdict(int)
    strange: dict[str, list[Object]] = defaultdict(list)
    for node in nodes:
        kind = next(
            (k for r in devices(node) if (k := accelerators().of_node(_labels(node), r))), None
        )
        if kind:
            kinds[kind] += 1
        else:
            strange[_labels(node).get(PRODUCT, "")].append(node)
    for product, found in sorted(strange.items()):
        yield _unlabelled(check, product, found)
    if kinds:
        counts = ", ".join(f"{name} on {number}" for name, number in sorted(kinds.items()))
        yield Finding(check, "ok", f"GPU types by node label: {counts}.")


def _unlabelled(check: str, product: str, nodes: list[Object]) -> Finding:
    if product:
        message = f"{_names(nodes)}: the GPU type {product} ({PRODUCT}) is not in the catalogue."
        fix = "Add the GPU type in the chart's value catalog.accelerators (docs/sizing.md)."
    else:
        message = (
            f"{_names(nodes)}: no label identifies the GPU type, so no accelerator.profile matches."
        )
        fix = (
            "Run GPU feature discovery (part of NVIDIA's GPU operator), or set only accelerator.count and "
            "select nodes with podTemplate.spec.nodeSelector."
        )
    return Finding(check, "warning", message, fix)


def free(facts: Facts) -> Iterator[Finding]:
    """Check that some GPUs are free."""
    check = "free GPUs"
    nodes = _with_gpus(facts)
    if not nodes:
        return
    if isinstance(facts.usage, Unseen):
        yield unseen(check, facts.usage)
        return
    total = left = 0
    held: dict[str, int] = defaultdict(int)
    for node in nodes:
        for name, number in devices(node).items():
            total += number
            left += number
            for holder in facts.usage.get(node["metadata"]["name"], ()):
                if taken := int(holder.amounts.get(name, 0)):
                    left -= taken
                    held[str(holder)] += taken
    ranked = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    who = ", ".join(f"{name} ({number})" for name, number in ranked[:SHOWN])
    if len(ranked) > SHOWN:
        who += f" and {len(ranked) - SHOWN} more"
    if left <= 0:
        fix = (
            "Wait, delete one of them, or add a node. A new resource waits and reports the holders."
        )
        yield Finding(check, "warning", f"0 of {total} are free; held by {who}.", fix)
    else:
        yield Finding(
            check, "ok", f"{left} of {total} are free{f'; held by {who}' if who else ''}."
        )


def reachable(facts: Facts) -> Iterator[Finding]:
    """Check that GPU nodes are ready, not cordoned, and have only taints that a resource tolerates."""
    check = "GPU nodes"
    nodes = _with_gpus(facts)
    if not nodes:
        return
    sound = True
    for problem, fix, found in (
        ("are not ready", "kubectl describe node", [n for n in nodes if not _is_ready(n)]),
        (
            "are cordoned",
            "kubectl uncordon",
            [n for n in nodes if n.get("spec", {}).get("unschedulable")],
        ),
    ):
        if found:
            sound = False
            names = " ".join(n["metadata"]["name"] for n in found[:SHOWN])
            yield Finding(check, "warning", f"{_names(found)} {problem}.", f"{fix} {names}")
    for (key, value, effect), found in _unborne(facts, nodes).items():
        sound = False
        yield _taint(check, key, value, effect, found)
    if sound:
        yield Finding(check, "ok", f"{len(nodes)} are ready and schedulable.")


def _unborne(facts: Facts, nodes: Objects) -> dict[tuple[str, str, str], list[Object]]:
    """Return the taints that no resource of the namespace tolerates, by key, value and effect."""
    resources: Objects = () if isinstance(facts.resources, Unseen) else facts.resources
    tolerations: list[Object] = []
    for item in resources:
        pod = (item["spec"].get("podTemplate") or {}).get("spec")
        listed = pod.get("tolerations") if isinstance(pod, dict) else None
        # The API server does not validate podTemplate.
        tolerations += [each for each in listed or [] if isinstance(each, dict)]
    found: dict[tuple[str, str, str], list[Object]] = defaultdict(list)
    for node in nodes:
        for taint in NodeView.of(node).taints:
            # The node controller's own taints repeat node conditions.
            if not taint["key"].startswith("node.kubernetes.io/") and not tolerated(
                taint, tolerations
            ):
                found[taint["key"], taint.get("value", ""), taint["effect"]].append(node)
    return found


def _taint(check: str, key: str, value: str, effect: str, nodes: list[Object]) -> Finding:
    written = f"{key}={value}:{effect}" if value else f"{key}:{effect}"
    message = (
        f"{_names(nodes)}: no DeepSeekDeployment in the namespace tolerates the taint {written}."
    )
    operator = f"operator: Equal, value: {value}" if value else "operator: Exists"
    fix = f"spec.podTemplate.spec.tolerations: [{{key: {key}, {operator}, effect: {effect}}}]"
    if key in accelerators().resources:
        fix += "; not needed if the admission plug-in ExtendedResourceToleration is enabled"
    return Finding(check, "warning", message, f"{fix}.")


def driven(facts: Facts) -> Iterator[Finding]:
    """Check that GPU drivers are new enough for the images."""
    check = "GPU driver"
    known = {}
    for node in _with_gpus(facts):
        major = next((_labels(node)[name] for name in DRIVER if name in _labels(node)), "")
        if major.isdigit():
            known[node["metadata"]["name"]] = (int(major), node)
    if not known:
        return
    old = [node for major, node in known.values() if major < OLDEST_DRIVER]
    if old:
        oldest = min(major for major, _ in known.values())
        message = f"{_names(old)}: the driver is {oldest}; images with CUDA 13 need {OLDEST_DRIVER} or newer."
        fix = "Upgrade the driver, or set an image with an older CUDA in spec.engine.image."
        yield Finding(check, "problem" if len(old) == len(known) else "warning", message, fix)
    else:
        yield Finding(
            check,
            "ok",
            f"Version {min(major for major, _ in known.values())} or newer on {len(known)} node(s).",
        )


def _with_gpus(facts: Facts) -> Objects:
    nodes: Objects = () if isinstance(facts.nodes, Unseen) else facts.nodes
    return tuple(node for node in nodes if devices(node))


def _labels(node: Object) -> dict[str, str]:
    return dict(node["metadata"].get("labels") or {})


def _is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _names(nodes: list[Object]) -> str:
    names = sorted(node["metadata"]["name"] for node in nodes)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


CHECKS = (offered, labelled, free, reachable, driven)
