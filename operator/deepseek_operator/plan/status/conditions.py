"""Status of a resource: its conditions, and the phase in one sentence."""

from dataclasses import dataclass, replace
from typing import Any

from deepseek_operator.api.status import (
    Condition,
    GroupStatus,
    ResolvedModel,
    RolloutStatus,
    Status,
)
from deepseek_operator.plan.desired import scaling
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.diagnosis.findings import Finding
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.sizing.sizing import resolved
from deepseek_operator.plan.state.labels import gang_name, selector
from deepseek_operator.plan.state.observed import Object, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.status import progress
from deepseek_operator.plan.status.rollout_status import ROLLED_BACK
from deepseek_operator.plan.traffic import mesh
from deepseek_operator.plan.traffic import route_status as acceptance

ACCEPTED = "Accepted"
SCHEDULED = "Scheduled"
MODEL_READY = "ModelReady"
AVAILABLE = "Available"
PROGRESSING = "Progressing"
GANG_READY = "GangReady"
AUTOSCALING = "Autoscaling"
ROUTES_READY = "RoutesReady"
TRUST_READY = "TrustReady"
READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"

STOPPED = "Stopped"
STOPPING = "Stopping"
ROLLING_OUT = "RollingOut"
DEGRADED = "Degraded"


@dataclass(frozen=True)
class Verdict:
    """A condition without generation and transition time; `holds` None means Unknown."""

    type: str
    holds: bool | None
    reason: str
    message: str


def refused(
    refusal: Refusal, previous: dict[str, Any], generation: int, now: str
) -> dict[str, Any]:
    """Return the status of a resource whose spec is rejected.

    The objects of the last accepted spec go on serving, so the rest of the status is kept.
    """
    previous_status = Status.model_validate(previous)
    present = {item.type for item in previous_status.conditions}
    verdicts = [
        Verdict(ACCEPTED, False, refusal.reason, refusal.message),
        Verdict(READY, False, refusal.reason, refusal.message),
        Verdict(RECONCILING, False, refusal.reason, "The spec was not accepted."),
        Verdict(STALLED, True, refusal.reason, refusal.message),
    ]
    verdicts += [
        Verdict(kind, None, refusal.reason, "The spec was not accepted.")
        for kind in (SCHEDULED, MODEL_READY, AVAILABLE, PROGRESSING)
        if kind not in present
    ]
    status = previous_status.model_copy(
        update={
            "phase": f"Rejected: {refusal.message.split('. ')[0].rstrip('.')}",
            "observed_generation": generation,
            "conditions": _conditions(verdicts, previous_status.conditions, generation, now),
        }
    )
    return _plain(status)


def reported(
    desired: DesiredState, observed: Observed, previous: dict[str, Any], generation: int, now: str
) -> dict[str, Any]:
    """Return the status of a resource whose spec is accepted."""
    before = Status.model_validate(previous)
    # Failures of a set of pods that was replaced don't count against its successor.
    own = f"{gang_name(desired.resource.name, desired.color)}-"
    known = [item for item in before.groups if item.cause.pod.startswith(own)]
    failures = gangs.groups(
        known, observed.failed, generation, desired.replicas, desired.max_restarts
    )
    observed = replace(observed, groups=gangs.pausing(failures, now))
    finding = findings.find(desired, observed)
    under_way = progress.rollout(desired, observed, before.rollout, now)
    available = _available(desired, observed, finding, before)
    ready = _ready(desired, observed, finding, under_way)
    verdicts = [
        _accepted(desired),
        _scheduled(desired, observed, finding),
        _model_ready(observed, finding),
        available,
        _progressing(desired, observed, under_way),
        *_gang_ready(desired, observed, failures, before),
        *_autoscaling(desired, observed),
        *_routes_ready(desired, observed),
        *_trust_ready(desired, observed),
        ready,
        *_for_tools(ready, finding),
    ]
    judged = {verdict.type for verdict in verdicts}
    conditions = [item for item in before.conditions if item.type in judged]
    status = Status(
        phase=_phase(desired, observed, finding, under_way, available.reason == DEGRADED),
        observed_generation=generation,
        endpoint=desired.endpoint,
        desired_replicas=desired.replicas,
        replicas=observed.deployment.replicas + observed.extra_ready,
        ready_replicas=observed.ready,
        selector=",".join(
            f"{key}={value}" for key, value in selector(desired.resource.name).items()
        ),
        resolved=ResolvedModel(
            served_name=desired.served_name,
            source=desired.source,
            accelerator=desired.accelerator,
            image=desired.image,
            **resolved(desired.sizing),
        ),
        revision=desired.revision or None,
        rollout=under_way,
        groups=failures,
        conditions=_conditions(verdicts, conditions, generation, now),
    )
    return _plain(status)


def groups_before(body: Object) -> list[GroupStatus]:
    """Return the failures of multi-pod replicas that the stored status records."""
    return Status.model_validate(body.get("status") or {}).groups


def rollout_before(body: Object) -> RolloutStatus | None:
    """Return the rollout that the stored status records, or None."""
    return Status.model_validate(body.get("status") or {}).rollout


def resolved_before(body: Object) -> ResolvedModel | None:
    """Return the resolved defaults that the stored status records, or None."""
    return Status.model_validate(body.get("status") or {}).resolved


def _accepted(desired: DesiredState) -> Verdict:
    message = f"The spec is accepted. {desired.sizing.note}".rstrip()
    return Verdict(ACCEPTED, True, "Accepted", message)


def _scheduled(desired: DesiredState, observed: Observed, finding: Finding | None) -> Verdict:
    if desired.replicas == 0:
        return Verdict(SCHEDULED, True, STOPPED, "No pods are needed: replicas is 0.")
    if finding and finding.reason in findings.PLACEMENT:
        return Verdict(SCHEDULED, False, finding.reason, finding.message)
    if observed.pods and all(pod.scheduled for pod in observed.pods):
        return Verdict(SCHEDULED, True, "Scheduled", "All pods are scheduled.")
    return Verdict(SCHEDULED, None, findings.STARTING, "Pods are being created.")


def _model_ready(observed: Observed, finding: Finding | None) -> Verdict:
    if observed.ready:
        return Verdict(MODEL_READY, True, "Loaded", "The model is loaded.")
    if finding and finding.reason not in findings.PLACEMENT:
        return Verdict(MODEL_READY, False, finding.reason, finding.message)
    return Verdict(MODEL_READY, False, "NotLoaded", "No pod has loaded the model yet.")


def _gang_ready(
    desired: DesiredState, observed: Observed, failures: list[GroupStatus], before: Status
) -> list[Verdict]:
    """Return GangReady, whether the pods of each replica are connected; nothing for single-pod replicas."""
    if desired.pods == 1:
        return []
    serving = {replica.group for replica in observed.replicas if replica.ready}
    for item in failures:
        if item.cause.exit_code == gangs.EXIT_GANG and item.index not in serving:
            return [Verdict(GANG_READY, False, gangs.PREFLIGHT_FAILED, gangs.describe(item))]
    reports = [pod.loading.network for pod in observed.pods if pod.loading and pod.loading.network]
    slow = next((network for network in reports if network.problem), None)
    if slow:
        return [Verdict(GANG_READY, False, gangs.NETWORK_TOO_SLOW, slow.problem)]
    old = next((item for item in before.conditions if item.type == GANG_READY), None)
    if not reports and old and old.reason in (gangs.NETWORK_TOO_SLOW, gangs.MET) and serving:
        # Ready servers are not polled any more, so the last report stays valid.
        return [Verdict(GANG_READY, old.status == "True", old.reason, old.message)]
    if reports or serving:
        message = (
            f"The pods of each replica are connected. {reports[0] if reports else ''}".rstrip()
        )
        return [Verdict(GANG_READY, True, gangs.MET, message)]
    return [Verdict(GANG_READY, None, "Starting", "The pods of a replica are not connected yet.")]


def _available(
    desired: DesiredState, observed: Observed, finding: Finding | None, before: Status
) -> Verdict:
    if desired.replicas == 0 or not observed.ready:
        reason = STOPPED if desired.replicas == 0 else "NoReplicaReady"
        return Verdict(AVAILABLE, False, reason, "No replica is serving.")
    if observed.ready >= desired.replicas:
        return Verdict(AVAILABLE, True, "Serving", "All requested replicas are serving.")
    # Degraded, not just starting: all replicas served before, or a replica has a problem.
    old = next((item.reason for item in before.conditions if item.type == AVAILABLE), "")
    had_all = old in ("Serving", DEGRADED) and before.desired_replicas == desired.replicas
    trouble = finding and finding.reason not in findings.ORDINARY | findings.WAITING
    reason = DEGRADED if had_all or trouble else "Partial"
    message = f"{observed.ready} of {desired.replicas} replicas are serving."
    return Verdict(AVAILABLE, True, reason, message)


def _progressing(
    desired: DesiredState, observed: Observed, under_way: RolloutStatus | None
) -> Verdict:
    if progress.complete(desired, observed):
        return Verdict(PROGRESSING, False, "Complete", "All replicas match the spec.")
    if under_way and under_way.reason == ROLLED_BACK:
        return Verdict(PROGRESSING, False, ROLLED_BACK, under_way.message)
    if under_way:
        return Verdict(PROGRESSING, True, ROLLING_OUT, under_way.message)
    return Verdict(PROGRESSING, True, "Scaling", "Replicas are being added or removed.")


def _autoscaling(desired: DesiredState, observed: Observed) -> list[Verdict]:
    """Return Autoscaling; nothing without spec.scaling."""
    if desired.scaling is None:
        return []
    verdict = scaling.autoscaling_verdict(desired.scaling, observed)
    return [Verdict(AUTOSCALING, verdict.holds, verdict.reason, verdict.message)]


def _routes_ready(desired: DesiredState, observed: Observed) -> list[Verdict]:
    """Return RoutesReady; nothing without spec.routing. It has no influence on Ready."""
    if desired.routing is None:
        return []
    route, error = desired.routing.route, desired.routing.error
    if route and (trouble := acceptance.problem(route, observed.route_conditions)):
        error = trouble
    if error:
        return [Verdict(ROUTES_READY, False, error.reason, error.message)]
    return [Verdict(ROUTES_READY, True, "Routed", acceptance.describe(route) if route else "")]


def _trust_ready(desired: DesiredState, observed: Observed) -> list[Verdict]:
    """Return TrustReady; nothing where the pods need no mesh."""
    if not desired.authorization.in_mesh:
        return []
    holds, reason, message = mesh.verdict(desired.authorization, desired.resource.name, observed)
    return [Verdict(TRUST_READY, holds, reason, message)]


def _ready(
    desired: DesiredState,
    observed: Observed,
    finding: Finding | None,
    under_way: RolloutStatus | None,
) -> Verdict:
    if progress.complete(desired, observed):
        if desired.replicas == 0:
            return Verdict(READY, True, STOPPED, "Stopped: replicas is 0.")
        return Verdict(READY, True, READY, "All replicas are serving.")
    usual = finding is None or finding.reason in findings.ORDINARY | findings.WAITING
    if under_way and under_way.reason == ROLLED_BACK and usual:
        return Verdict(READY, False, ROLLED_BACK, under_way.message)
    if under_way and usual:
        message = f"{under_way.message} {finding.message if finding else ''}".rstrip()
        return Verdict(READY, False, ROLLING_OUT, message)
    if finding:
        return Verdict(READY, False, finding.reason, finding.message)
    if observed.ready < desired.replicas:
        return Verdict(READY, False, findings.STARTING, "Pods are being created.")
    return Verdict(READY, False, STOPPING, "Surplus replicas are being stopped.")


def _for_tools(ready: Verdict, finding: Finding | None) -> list[Verdict]:
    """Return the two conditions that kstatus reads (Flux, kpt and others wait for them).

    Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
    """
    if ready.holds:
        settled = "Reconciliation is complete."
        return [
            Verdict(RECONCILING, False, ready.reason, settled),
            Verdict(STALLED, False, ready.reason, settled),
        ]
    if ready.reason == ROLLED_BACK:
        return [
            Verdict(RECONCILING, False, ready.reason, "The spec has to change; see Stalled."),
            Verdict(STALLED, True, ready.reason, ready.message),
        ]
    if finding and finding.reason in findings.STALLED:
        return [
            Verdict(RECONCILING, False, finding.reason, "User action required; see Stalled."),
            Verdict(STALLED, True, finding.reason, finding.message),
        ]
    return [
        Verdict(RECONCILING, True, ready.reason, ready.message),
        Verdict(STALLED, False, ready.reason, "May resolve without intervention."),
    ]


def _phase(
    desired: DesiredState,
    observed: Observed,
    finding: Finding | None,
    under_way: RolloutStatus | None,
    degraded: bool,
) -> str:
    serving = f"{min(observed.ready, desired.replicas)} of {desired.replicas} replicas serve"
    if progress.complete(desired, observed):
        return f"Ready: {serving}" if desired.replicas else "Stopped: replicas is 0"
    if under_way:
        return progress.summary(desired, observed, under_way, finding)
    stopping = observed.ready >= desired.replicas
    summary = finding.summary if finding else "Stopping replicas" if stopping else "Starting"
    if not observed.ready:
        return summary
    if degraded:
        return f"Degraded: {summary[0].lower()}{summary[1:]}; {serving}"
    return f"{summary}; {serving}"


def _conditions(
    verdicts: list[Verdict], previous: list[Condition], generation: int, now: str
) -> list[Condition]:
    """Return the verdicts as conditions.

    Conditions without a new verdict are kept. A transition time moves only with the status.
    """
    before = {item.type: item for item in previous}
    after = dict(before)
    for verdict in verdicts:
        status = "Unknown" if verdict.holds is None else str(verdict.holds)
        old = before.get(verdict.type)
        changed = old is None or old.status != status
        after[verdict.type] = Condition(
            type=verdict.type,
            status=status,  # type: ignore[arg-type]
            reason=verdict.reason,
            message=verdict.message,
            observed_generation=generation,
            last_transition_time=now if changed else old.last_transition_time,  # type: ignore[union-attr]
        )
    return list(after.values())


def _plain(status: Status) -> dict[str, Any]:
    plain = status.model_dump(by_alias=True, exclude_none=True)
    if not status.groups:
        del plain["groups"]
    return plain


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return one condition of a status, {} where it is not set yet."""
    return next((item for item in status.get("conditions", []) if item["type"] == kind), {})
