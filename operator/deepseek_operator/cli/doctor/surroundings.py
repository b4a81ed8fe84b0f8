"""Checks of a namespace and its environment: permissions, mesh, network policies, storage."""

import re
from collections.abc import Iterable, Iterator

from deepseek_operator.api.section import PLURAL
from deepseek_operator.cli.doctor.facts import Facts, Object
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen

ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Parts of the names of provisioners with ReadWriteMany volumes; from general knowledge, unverified.
SHARED = (
    "cephfs",
    "nfs",
    "efs.csi",
    "fsx.csi",
    "filestore",
    "file.csi.azure",
    "azure-file",
    "lustre",
    "juicefs",
    "weka",
    "beegfs",
)
# The first minor version of Kubernetes 1 whose kubelets start native sidecars without a feature gate
# (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/).
NATIVE_SIDECARS = 29
INJECTION, REVISION, AMBIENT = "istio-injection", "istio.io/rev", "istio.io/dataplane-mode"


def permitted(facts: Facts) -> Iterator[Finding]:
    """Check that the user may write resources."""
    check = "your rights"
    if isinstance(facts.allowed, Unseen):
        yield unseen(check, facts.allowed)
        return
    lacking = [right.split()[0] for right, may in facts.allowed.items() if not may]
    if lacking:
        message = f"You may not {', '.join(lacking)} {PLURAL} in {facts.namespace}."
        yield Finding(
            check,
            "warning",
            message,
            f"Ask for permission to {', '.join(lacking)} {PLURAL} in {facts.namespace}.",
        )
    else:
        yield Finding(check, "ok", f"You may write {PLURAL} in {facts.namespace}.")


def namespace(facts: Facts) -> Iterator[Finding]:
    """Check that the namespace exists and admits the pods of models."""
    check = "namespace"
    if isinstance(facts.space, Unseen):
        yield unseen(check, facts.space)
        return
    if facts.space is None:
        fix = f"kubectl create namespace {facts.namespace}, or use another one with --namespace."
        yield Finding(check, "problem", f"The namespace {facts.namespace} does not exist.", fix)
        return
    if facts.space["metadata"].get("deletionTimestamp"):
        yield Finding(
            check,
            "problem",
            f"{facts.namespace} is being deleted.",
            "Use another one with --namespace.",
        )
        return
    level = _labels(facts.space).get(ENFORCE, "")
    if level in ("baseline", "restricted"):
        message = (
            f"{facts.namespace} enforces {level}: all sources but model.source.hostPath comply."
        )
        yield Finding(check, "ok", message)
    elif level and level not in LEVELS:
        message = f"The label {ENFORCE} of {facts.namespace} is {level!r}, not a valid level."
        yield Finding(check, "warning", message, f"Set it to one of {', '.join(LEVELS)}.")
    else:
        yield Finding(
            check, "ok", f"{facts.namespace} admits every pod (no Pod Security level is enforced)."
        )


def mesh(facts: Facts) -> Iterator[Finding]:
    """Check sidecar injection in the namespace if a mesh is installed."""
    check = "mesh"
    if isinstance(facts.served, Unseen) or "PeerAuthentication" not in facts.served:
        return
    if facts.space is None or isinstance(facts.space, Unseen):
        return  # reported by the namespace check
    if not isinstance(facts.nodes, Unseen) and (old := _too_old(facts.nodes)):
        yield Finding(
            check,
            "warning",
            f"The kubelets of {', '.join(old)} are older than 1.{NATIVE_SIDECARS}: a model with "
            "security.mtls never starts there, because its sidecar is a native sidecar.",
            'Upgrade these nodes, or set the annotation sidecar.istio.io/nativeSidecar: "false" in '
            "podTemplate.metadata.annotations.",
        )
    labels = _labels(facts.space)
    if labels.get(AMBIENT) == "ambient":
        message = f"{facts.namespace} is in ambient mode, which is untested."
        yield Finding(
            check,
            "warning",
            message,
            f"kubectl label namespace {facts.namespace} {AMBIENT}- {INJECTION}=enabled",
        )
    elif labels.get(INJECTION) == "enabled" or labels.get(REVISION):
        how = labels.get(REVISION) or "enabled"
        yield Finding(check, "ok", f"Pods in {facts.namespace} get sidecars ({how}).")
    else:
        message = (
            f"Pods in {facts.namespace} get no sidecars: spec.security.mtls would not be enforced."
        )
        fix = f"To join the mesh: kubectl label namespace {facts.namespace} {INJECTION}=enabled"
        yield Finding(check, "ok", message, fix)


def _too_old(nodes: Iterable[Object]) -> list[str]:
    """Return names and kubelet versions of the nodes that start no native sidecars."""
    found = []
    for node in nodes:
        version = str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""))
        known = re.match(r"v1\.(\d{1,3})\b", version)
        if known and int(known[1]) < NATIVE_SIDECARS:
            found.append(f"{node['metadata']['name']} ({version})")
    return found


def policies(facts: Facts) -> Iterator[Finding]:
    """Report that enforcement of NetworkPolicies is unknown: no API exposes it."""
    yield Finding(
        "NetworkPolicy",
        "unknown",
        "No API reports whether NetworkPolicies are enforced; if not, every pod can reach every model.",
        "Check the network plug-in: Calico and Cilium enforce them, flannel alone does not.",
    )


def storage(facts: Facts) -> Iterator[Finding]:
    """Check for a default StorageClass and for one with shared volumes."""
    check = "storage"
    if isinstance(facts.storage, Unseen):
        yield unseen(check, facts.storage)
        return
    if not facts.storage:
        message = (
            "There is no StorageClass: model.source.pvc needs a volume that is created manually."
        )
        yield Finding(check, "warning", message, "Install a CSI driver, or download from the hub.")
        return
    defaults = [item for item in facts.storage if _annotations(item).get(DEFAULT_CLASS) == "true"]
    names = ", ".join(item["metadata"]["name"] for item in defaults)
    if not defaults:
        first = facts.storage[0]["metadata"]["name"]
        fix = f"kubectl annotate storageclass {first} {DEFAULT_CLASS}=true"
        yield Finding(
            check, "warning", "No StorageClass is the default: claims must name one.", fix
        )
    elif len(defaults) > 1:
        message = f"Several StorageClasses are the default ({names}): the newest one is used."
        yield Finding(
            check, "warning", message, f"kubectl annotate storageclass NAME {DEFAULT_CLASS}-"
        )
    else:
        yield Finding(check, "ok", f"{names} is the default.")
    shared = [item["metadata"]["name"] for item in facts.storage if _is_shared(item)]
    check = "shared storage"
    if shared:
        yield Finding(
            check,
            "ok",
            f"{', '.join(shared)}: judging by the provisioner, several nodes can mount a volume.",
        )
    else:
        message = "No StorageClass is known to support volumes on several nodes (ReadWriteMany)."
        fix = "Replicas on several nodes can share a model.source.pvc only with such a class."
        yield Finding(check, "unknown", message, fix)


def _is_shared(item: Object) -> bool:
    return any(part in item.get("provisioner", "") for part in SHARED)


def _labels(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("labels") or {})


def _annotations(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("annotations") or {})


CHECKS = (permitted, namespace, mesh, policies, storage)
