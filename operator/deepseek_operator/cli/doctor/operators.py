"""Checks of the operator itself."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from deepseek_operator.cli.doctor.facts import Facts, Object, Objects
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen

VERSION = "app.kubernetes.io/version"


def installed(facts: Facts) -> Iterator[Finding]:
    """The operator's Deployment is there, ready, and of this release."""
    check = "operator"
    if isinstance(facts.operators, Unseen):
        yield unseen(check, facts.operators)
        return
    if not facts.operators:
        if _led(facts):
            yield Finding(
                check, "warning", "It runs outside the cluster: there is no Deployment of it."
            )
            return
        fix = "helm install deepseek-operator charts/deepseek-operator (docs/install.md)."
        yield Finding(check, "problem", "It is not installed.", fix)
        return
    if len(facts.operators) > 1:
        names = ", ".join(_name(item) for item in facts.operators)
        fix = "helm uninstall all of them but one: in two namespaces, both would lead."
        yield Finding(check, "problem", f"There are several: {names}.", fix)
    for deployment in facts.operators:
        yield _state(check, deployment, facts.here)


def _name(item: Object) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def _state(check: str, deployment: Object, here: str) -> Finding:
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    wanted = deployment.get("spec", {}).get("replicas", 1)
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    fix = f"kubectl -n {namespace} describe deployment {name}; kubectl -n {namespace} logs deployment/{name}"
    if not ready:
        return Finding(check, "problem", f"{namespace}/{name}: none of {wanted} is ready.", fix)
    if ready < wanted:
        return Finding(check, "warning", f"{namespace}/{name}: {ready} of {wanted} are ready.", fix)
    version = (deployment["metadata"].get("labels") or {}).get(VERSION, "")
    if version and version != here:
        message = f"{namespace}/{name} is of release {version}, this command of {here}."
        return Finding(check, "warning", message, "Use the command of the operator's release.")
    return Finding(
        check, "ok", f"{namespace}/{name}: {ready} of {wanted} are ready, {version or here}."
    )


def leads(facts: Facts) -> Iterator[Finding]:
    """Somebody holds the Lease, and renews it."""
    check = "leader"
    if isinstance(facts.leases, Unseen):
        yield unseen(check, facts.leases)
        return
    if not facts.leases:
        if facts.operators:
            yield _nobody(check, "Nobody has ever led: there is no Lease.")
        return
    if len(facts.leases) > 1:
        names = ", ".join(_name(item) for item in facts.leases)
        message = f"There are several Leases ({names}), so several operators may lead."
        yield Finding(check, "warning", message, "kubectl delete those that nobody renews.")
    lease = max(facts.leases, key=_renewed)
    spec = lease["spec"]
    if not _is_held(lease, facts.now):
        yield _nobody(
            check, f"Nobody leads; the last was {spec.get('holderIdentity') or 'nobody'}."
        )
        return
    yield Finding(check, "ok", f"{spec['holderIdentity']} leads.")


def _nobody(check: str, message: str) -> Finding:
    fix = "Look at the operator's log; a new leader takes over within 15 seconds."
    return Finding(check, "problem", message, fix)


def _led(facts: Facts) -> bool:
    leases: Objects = () if isinstance(facts.leases, Unseen) else facts.leases
    return any(_is_held(lease, facts.now) for lease in leases)


def _is_held(lease: Object, now: datetime) -> bool:
    spec = lease.get("spec") or {}
    # Clocks of two machines: a second look would be the only sure way.
    grace = timedelta(seconds=2 * spec.get("leaseDurationSeconds", 15))
    return bool(spec.get("holderIdentity")) and now - _renewed(lease) < grace


def _renewed(lease: Object) -> datetime:
    said = (lease.get("spec") or {}).get("renewTime")
    return datetime.fromisoformat(said or "1970-01-01T00:00:00+00:00")


CHECKS = (installed, leads)
