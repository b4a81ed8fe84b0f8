"""Whether the pods of a model are in the mesh that is to protect them.

A sidecar is put into a pod when it is made, by a webhook of the mesh. Pods from before the mesh, or
of a namespace that the webhook leaves out, serve without one, and nobody asks their callers who they
are but the NetworkPolicy. That is said; pods are not replaced for it, since a model takes long to
load and a mesh that is just being installed has its API before it has its webhook.
"""

from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.state.observed import Observed, PodView
from deepseek_operator.plan.traffic.authorization import AUTHORIZATION_POLICY, Trust


def verdict(trust: Trust, name: str, observed: Observed) -> tuple[bool | None, str, str]:
    """Whether callers have to prove what they are asked for: status, reason and message.

    Args:
        trust: What they are asked for, in a mesh.
        name: Of the resource.
        observed: Its pods.
    """
    if not trust.enforced:
        return (
            False,
            "ApiMissing",
            f"security.mtls needs Istio, which this cluster does not have: the NetworkPolicy alone "
            f"protects the model. Install it ({install_commands()[AUTHORIZATION_POLICY]}), or leave "
            "security.mtls out.",
        )
    pods = [pod for pod in observed.pods if pod.index == 0]
    if not pods:
        return None, "Starting", "There is no pod yet."
    if bare := [pod for pod in pods if not pod.sidecar]:
        return False, "NoSidecar", _no_sidecar(bare, len(pods), name)
    if trust.mtls == "PERMISSIVE":
        return True, "Permissive", "Every pod is in the mesh; callers outside it are answered, too."
    return True, "Enforced", "Every pod is in the mesh and answers only those that may ask."


def _no_sidecar(bare: list[PodView], total: int, name: str) -> str:
    pods = "its pod has" if total == 1 else f"{len(bare)} of {total} pods have"
    command = (
        f"kubectl rollout restart deployment/{name}"
        if bare[0].group is None
        else f"kubectl delete pod {bare[0].name}"
    )
    return (
        f"{pods[0].upper()}{pods[1:]} no sidecar, such as {bare[0].name}, so only the NetworkPolicy "
        f"protects the model there. If it is older than Istio: {command}. Else the injection of "
        "sidecars is off here: is istiod running, and is it the revision of this namespace?"
    )
