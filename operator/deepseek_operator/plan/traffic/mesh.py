"""Mesh membership of a model's pods, for the condition TrustReady.

A webhook of the mesh injects the sidecar when a pod is created. Pods that are older than the mesh, or
in a namespace that the webhook excludes, serve without a sidecar and are protected only by the
NetworkPolicy. The condition reports this; pods are not replaced for it, since a model takes long to
load and a mesh that is being installed has its API before its webhook.
"""

from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.state.observed import Observed, PodView
from deepseek_operator.plan.traffic.authorization import AUTHORIZATION_POLICY, AuthorizationPlan


def verdict(
    authorization: AuthorizationPlan, name: str, observed: Observed
) -> tuple[bool | None, str, str]:
    """Return status, reason and message of TrustReady: whether the mesh protects the pods.

    Args:
        authorization: The authorization that the mesh enforces.
        name: Name of the resource.
        observed: Its pods.
    """
    if not authorization.enforced:
        return (
            False,
            "ApiMissing",
            f"security.mtls needs Istio, which is not installed in this cluster: only the "
            f"NetworkPolicy protects the model. Install it "
            f"({install_commands()[AUTHORIZATION_POLICY]}), or remove security.mtls.",
        )
    pods = [pod for pod in observed.pods if pod.index == 0]
    if not pods:
        return None, "Starting", "No pod exists yet."
    if bare := [pod for pod in pods if not pod.sidecar]:
        return False, "NoSidecar", _no_sidecar(bare, len(pods), name)
    if authorization.mtls == "PERMISSIVE":
        return True, "Permissive", "All pods are in the mesh; clients outside it are served, too."
    return True, "Enforced", "All pods are in the mesh and serve only authorized clients."


def _no_sidecar(bare: list[PodView], total: int, name: str) -> str:
    pods = "its pod has" if total == 1 else f"{len(bare)} of {total} pods have"
    command = (
        f"kubectl rollout restart deployment/{name}"
        if bare[0].group is None
        else f"kubectl delete pod {bare[0].name}"
    )
    return (
        f"{pods[0].upper()}{pods[1:]} no sidecar (for example {bare[0].name}); only the NetworkPolicy "
        f"protects the model there. If the pod is older than Istio: {command}. Otherwise sidecar "
        "injection is off in this namespace: check that istiod runs and serves its revision label."
    )
