"""Checks of the operator and its leader election."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from deepseek_operator.cli.doctor.facts import Facts, Object, Objects
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen

VERSION = "app.kubernetes.io/version"


def installed(facts: Facts) -> Iterator[Finding]:
    """Check that the operator's Deployment exists, is ready, and is of this release."""
    check = "operator"
    if isinstance(facts.operators, Unseen):
        yield unseen(check, facts.operators)
        return
    if not facts.operators:
        if _led(facts):
            yield Finding(
                check, "warning", "The operator runs outside the cluster: it has no Deployment."
            )
            return
        fix = "helm install deepseek-operator charts/deepseek-operator (docs/install.md)."
        yield Finding(check, "problem", "The operator is not installed.", fix)
        return
    if len(facts.operators) > 1:
        names = ", ".join(_name(item) for item in facts.operators)
        fix = "helm uninstall all but one: in different namespaces each has its own leader."
        yield Finding(check, "problem", f"Several operators are installed: {names}.", fix)
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
        message = f"{namespace}/{name} is release {version}, this command is {here}."
        return Finding(check, "warning", message, "Use the command from the operator's release.")
    return Finding(
        check,
        "ok",
        f"{namespace}/{name}: {ready} of {wanted} are ready, release {version or here}.",
    )


def leads(facts: Facts) -> Iterator[Finding]:
    """Check that a leader holds and renews the Lease."""
    check = "leader"
    if isinstance(facts.leases, Unseen):
        yield unseen(check, facts.leases)
        return
    if not facts.leases:
        if facts.operators:
            yield _no_leader(check, "No leader was ever elected: there is no Lease.")
        return
    if len(facts.leases) > 1:
        names = ", ".join(_name(item) for item in facts.leases)
        message = f"There are several Leases ({names}), so several operators may be leaders."
        yield Finding(check, "warning", message, "kubectl delete the Leases that are not renewed.")
    lease = max(facts.leases, key=_renewed)
    spec = lease["spec"]
    if not _is_held(lease, facts.now):
        yield _no_leader(
            check,
            f"There is no leader; the last one was {spec.get('holderIdentity') or 'unknown'}.",
        )
        return
    yield Finding(check, "ok", f"{spec['holderIdentity']} is the leader.")


def _no_leader(check: str, message: str) -> Finding:
    fix = "Check the operator's log; a new leader normally takes over within 15 seconds."
    return Finding(check, "problem", message, fix)


def _led(facts: Facts) -> bool:
    leases: Objects = () if isinstance(facts.leases, Unseen) else facts.leases
    return any(_is_held(lease, facts.now) for lease in leases)


def _is_held(lease: Object, now: datetime) -> bool:
    spec = lease.get("spec") or {}
    # The clocks of two machines may differ, and only a second observation would be exact.
    grace = timedelta(seconds=2 * spec.get("leaseDurationSeconds", 15))
    return bool(spec.get("holderIdentity")) and now - _renewed(lease) < grace


def _renewed(lease: Object) -> datetime:
    renewed = (lease.get("spec") or {}).get("renewTime")
    return datetime.fromisoformat(renewed or "1970-01-01T00:00:00+00:00")


CHECKS = (installed, leads)
