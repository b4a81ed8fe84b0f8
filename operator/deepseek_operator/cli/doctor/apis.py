"""Checks of optional APIs and of aggregated APIs."""

from collections.abc import Iterator

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.cli.doctor.facts import Facts, Object, Objects
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen
from deepseek_operator.plan.desired.validation import NEEDED_APIS

# Optional APIs: name, kinds that belong together, and the fields of a resource that need them.
OPTIONAL = (
    ("LeaderWorkerSet", ("LeaderWorkerSet",), "replicas of several pods (spec.parallelism over nodes)"),
    ("Kueue", ("LocalQueue",), "spec.scheduling.queue"),
    (
        "Istio",
        ("VirtualService", "DestinationRule", "IstioGateway", "PeerAuthentication",
         "RequestAuthentication", "AuthorizationPolicy"),
        "spec.routing by Istio, and spec.security.mtls and jwt",
    ),
    ("Gateway API", ("HTTPRoute", "Gateway"), "spec.routing by Gateway API"),
    ("cert-manager", ("Certificate",), "spec.routing.tls.issuer"),
    ("Prometheus operator", ("PodMonitor",), "metrics of models in Prometheus"),
    ("KEDA", ("ScaledObject",), "scaling.metrics: keda"),
)  # fmt: skip
METRICS = "custom.metrics.k8s.io"


def optional(facts: Facts) -> Iterator[Finding]:
    """Check whether each optional API is installed, absent, or absent although required."""
    if isinstance(facts.served, Unseen):
        yield unseen("optional APIs", facts.served)
        return
    wanted = _wanted(facts)
    for name, kinds, use in OPTIONAL:
        missing = [kind for kind in kinds if kind not in facts.served]
        fix = install_commands()[kinds[0]]
        if not missing:
            yield Finding(name, "ok", f"Installed; used for {use}.")
        elif asking := sorted({who for kind in missing for who in wanted.get(kind, ())}):
            message = f"Not installed: {', '.join(missing)}; required by {', '.join(asking)}."
            yield Finding(name, "problem", message, fix)
        elif len(missing) < len(kinds):
            message = f"Partly installed: {', '.join(missing)} missing; needed for {use}."
            yield Finding(name, "warning", message, fix)
        else:
            yield Finding(
                name, "ok", f"Not installed; needed only for {use}.", f"To install it: {fix}"
            )


def _wanted(facts: Facts) -> dict[str, set[str]]:
    """Return, per optional kind, the resources of the namespace that require it, by the operator's rules."""
    found: dict[str, set[str]] = {}
    resources: Objects = () if isinstance(facts.resources, Unseen) else facts.resources
    for item in resources:
        try:
            spec = Spec.model_validate(item["spec"])
        except ValueError:
            continue  # written for another release, which the CRD check reports
        for kind, field, asked in NEEDED_APIS:
            if asked(spec):
                found.setdefault(kind, set()).add(f"{item['metadata']['name']} ({field})")
    return found


def load(facts: Facts) -> Iterator[Finding]:
    """Check that the custom metrics API, which autoscalers read, is served."""
    check = "custom metrics"
    if isinstance(facts.services, Unseen):
        yield unseen(check, facts.services)
        return
    found = [item for item in facts.services if item["spec"].get("group") == METRICS]
    if not found:
        message = f"{METRICS} is not served: spec.scaling works only with metrics: keda."
        yield Finding(
            check, "warning", message, "Install the chart with customMetrics.enabled=true."
        )
    for service in found:
        target = service["spec"].get("service") or {}
        who = f"{target.get('namespace', '')}/{target.get('name', '')}"
        yield _answers(check, service, who)


def _answers(check: str, service: Object, who: str) -> Finding:
    state = _available(service)
    if state.get("status") == "True":
        return Finding(check, "ok", f"{who} serves {METRICS}.")
    message = state.get("message") or "no reason reported"
    fix = f"kubectl describe apiservice {service['metadata']['name']}."
    return Finding(
        check, "problem", f"{METRICS}, served by {who}, is not available: {message}.", fix
    )


def others(facts: Facts) -> Iterator[Finding]:
    """Check the other aggregated APIs: while one is unavailable, namespaces can't be deleted."""
    services: Objects = () if isinstance(facts.services, Unseen) else facts.services
    for service in services:
        state = _available(service)
        if service["spec"].get("group") == METRICS or state.get("status") != "False":
            continue
        name = service["metadata"]["name"]
        message = f"{name} is not available: {state.get('message', 'no reason reported')}."
        fix = f"kubectl describe apiservice {name}; delete it if its server was uninstalled."
        yield Finding("other APIs", "warning", message, fix)


def _available(service: Object) -> Object:
    conditions = service.get("status", {}).get("conditions") or []
    state: Object = next((item for item in conditions if item["type"] == "Available"), {})
    return state


CHECKS = (optional, load, others)
