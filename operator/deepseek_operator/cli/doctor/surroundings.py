"""Checks of a namespace and of what its pods get from the cluster."""

import re
from collections.abc import Iterable, Iterator

from deepseek_operator.api.section import PLURAL
from deepseek_operator.cli.doctor.facts import Facts, Object
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen

ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# In names of provisioners whose volumes several nodes may mount; from general knowledge, not looked up.
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
    """The person may do what one has to."""
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
            f"Ask for {', '.join(lacking)} on {PLURAL} in {facts.namespace}.",
        )
    else:
        yield Finding(check, "ok", f"You may write {PLURAL} in {facts.namespace}.")


def namespace(facts: Facts) -> Iterator[Finding]:
    """The namespace is there and lets our pods in."""
    check = "namespace"
    if isinstance(facts.space, Unseen):
        yield unseen(check, facts.space)
        return
    if facts.space is None:
        fix = f"kubectl create namespace {facts.namespace}, or name another one with --namespace."
        yield Finding(check, "problem", f"There is no namespace {facts.namespace}.", fix)
        return
    if facts.space["metadata"].get("deletionTimestamp"):
        yield Finding(
            check,
            "problem",
            f"{facts.namespace} is being deleted.",
            "Name another one with --namespace.",
        )
        return
    level = _labels(facts.space).get(ENFORCE, "")
    if level in ("baseline", "restricted"):
        message = f"{facts.namespace} enforces {level}: all but model.source.hostPath keeps to it."
        yield Finding(check, "ok", message)
    elif level and level not in LEVELS:
        message = f"The label {ENFORCE} of {facts.namespace} is {level!r}, which is no level."
        yield Finding(check, "warning", message, f"Write one of {', '.join(LEVELS)}.")
    else:
        yield Finding(
            check, "ok", f"{facts.namespace} lets every pod in (no Pod Security level is enforced)."
        )


def mesh(facts: Facts) -> Iterator[Finding]:
    """Pods of the namespace get sidecars, where there is a mesh."""
    check = "mesh"
    if isinstance(facts.served, Unseen) or "PeerAuthentication" not in facts.served:
        return
    if facts.space is None or isinstance(facts.space, Unseen):
        return  # told by the check of the namespace
    if not isinstance(facts.nodes, Unseen) and (old := _too_old(facts.nodes)):
        yield Finding(
            check,
            "warning",
            f"The kubelets of {', '.join(old)} are older than 1.{NATIVE_SIDECARS}: a model with "
            "security.mtls never starts there, because its sidecar is a native one.",
            'Upgrade these nodes, or set the annotation sidecar.istio.io/nativeSidecar: "false" in '
            "podTemplate.metadata.annotations.",
        )
    labels = _labels(facts.space)
    if labels.get(AMBIENT) == "ambient":
        message = f"{facts.namespace} is in ambient mode, which has not been tried."
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
            f"Pods in {facts.namespace} get no sidecars: nobody would check spec.security.mtls."
        )
        fix = f"If you want a mesh: kubectl label namespace {facts.namespace} {INJECTION}=enabled"
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
    """Whether NetworkPolicies do anything can't be asked."""
    yield Finding(
        "NetworkPolicy",
        "unknown",
        "Whether the network enforces NetworkPolicies can't be asked; else every pod reaches every model.",
        "Look at the network plug-in: Calico and Cilium enforce them, flannel alone does not.",
    )


def storage(facts: Facts) -> Iterator[Finding]:
    """Volumes can be claimed without naming a class, and one kind can be shared."""
    check = "storage"
    if isinstance(facts.storage, Unseen):
        yield unseen(check, facts.storage)
        return
    if not facts.storage:
        message = "There is no StorageClass: weights on a volume (model.source.pvc) need one made by hand."
        yield Finding(check, "warning", message, "Install a CSI driver, or download from the hub.")
        return
    defaults = [item for item in facts.storage if _annotations(item).get(DEFAULT_CLASS) == "true"]
    names = ", ".join(item["metadata"]["name"] for item in defaults)
    if not defaults:
        first = facts.storage[0]["metadata"]["name"]
        fix = f"kubectl annotate storageclass {first} {DEFAULT_CLASS}=true"
        yield Finding(
            check, "warning", "No StorageClass is the default: claims have to name one.", fix
        )
    elif len(defaults) > 1:
        message = f"Several StorageClasses are the default ({names}): the newest is taken."
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
            f"{', '.join(shared)}: by their provisioner, several nodes can mount a volume.",
        )
    else:
        message = (
            "Of no StorageClass is it known that several nodes can mount a volume (ReadWriteMany)."
        )
        fix = "Replicas on several nodes share a model.source.pvc only with such a class."
        yield Finding(check, "unknown", message, fix)


def _is_shared(item: Object) -> bool:
    return any(part in item.get("provisioner", "") for part in SHARED)


def _labels(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("labels") or {})


def _annotations(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("annotations") or {})


CHECKS = (permitted, namespace, mesh, policies, storage)
