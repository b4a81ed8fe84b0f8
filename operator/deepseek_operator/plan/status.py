"""What to say about a resource: conditions, and the phase in one sentence."""

from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.status import Condition, ResolvedModel, Status
from deepseek_operator.plan import findings, scaling
from deepseek_operator.plan.checks import Refusal
from deepseek_operator.plan.findings import Finding
from deepseek_operator.plan.labels import selector
from deepseek_operator.plan.observed import Object, Observed
from deepseek_operator.plan.sizing import resolved
from deepseek_operator.plan.target import Target

ACCEPTED = "Accepted"
SCHEDULED = "Scheduled"
MODEL_READY = "ModelReady"
AVAILABLE = "Available"
PROGRESSING = "Progressing"
AUTOSCALING = "Autoscaling"
READY = "Ready"

STOPPED = "Stopped"
ROLLING_OUT = "RollingOut"


@dataclass(frozen=True)
class Verdict:
    """One condition before it gets its generation and time. `holds` None means Unknown."""

    type: str
    holds: bool | None
    reason: str
    message: str


def refused(
    refusal: Refusal, previous: dict[str, Any], generation: int, now: str
) -> dict[str, Any]:
    """The status of a resource whose spec is not carried out.

    What an earlier spec made goes on serving, so the rest of the status is kept.
    """
    kept = Status.model_validate(previous)
    said = {item.type for item in kept.conditions}
    verdicts = [
        Verdict(ACCEPTED, False, refusal.reason, refusal.message),
        Verdict(READY, False, refusal.reason, refusal.message),
    ]
    verdicts += [
        Verdict(kind, None, refusal.reason, "The spec was not accepted.")
        for kind in (SCHEDULED, MODEL_READY, AVAILABLE, PROGRESSING)
        if kind not in said
    ]
    status = kept.model_copy(
        update={
            "phase": f"Rejected: {refusal.message.split('. ')[0].rstrip('.')}",
            "observed_generation": generation,
            "conditions": _conditions(verdicts, kept.conditions, generation, now),
        }
    )
    return _plain(status)


def reported(
    target: Target, observed: Observed, previous: dict[str, Any], generation: int, now: str
) -> dict[str, Any]:
    """The status of a resource whose spec is carried out."""
    finding = findings.find(target, observed)
    verdicts = [
        _accepted(target),
        _scheduled(target, observed, finding),
        _model_ready(observed, finding),
        _available(target, observed),
        _progressing(target, observed),
        *_autoscaling(target, observed),
        _ready(target, observed, finding),
    ]
    judged = {verdict.type for verdict in verdicts}
    before = [c for c in Status.model_validate(previous).conditions if c.type in judged]
    status = Status(
        phase=_phase(target, observed, finding),
        observed_generation=generation,
        endpoint=target.endpoint,
        replicas=observed.deployment.replicas,
        ready_replicas=observed.ready,
        selector=",".join(
            f"{key}={value}" for key, value in selector(target.resource.name).items()
        ),
        resolved=ResolvedModel(
            served_name=target.served_name,
            source=target.source,
            accelerator=target.accelerator,
            image=target.image,
            **resolved(target.sizing),
        ),
        conditions=_conditions(verdicts, before, generation, now),
    )
    return _plain(status)


def resolved_before(body: Object) -> ResolvedModel | None:
    """What was made of the defaults before, None where nothing was yet."""
    return Status.model_validate(body.get("status") or {}).resolved


def _accepted(target: Target) -> Verdict:
    message = f"The spec is carried out. {target.sizing.note}".rstrip()
    return Verdict(ACCEPTED, True, "Accepted", message)


def _scheduled(target: Target, observed: Observed, finding: Finding | None) -> Verdict:
    if target.replicas == 0:
        return Verdict(SCHEDULED, True, STOPPED, "No replica is asked for.")
    if finding and finding.reason in findings.PLACEMENT:
        return Verdict(SCHEDULED, False, finding.reason, finding.message)
    if observed.pods and all(pod.scheduled for pod in observed.pods):
        return Verdict(SCHEDULED, True, "Scheduled", "Every pod has a node.")
    return Verdict(SCHEDULED, None, findings.STARTING, "Pods are being made.")


def _model_ready(observed: Observed, finding: Finding | None) -> Verdict:
    if observed.ready:
        return Verdict(MODEL_READY, True, "Loaded", "The model is loaded.")
    if finding and finding.reason not in findings.PLACEMENT:
        return Verdict(MODEL_READY, False, finding.reason, finding.message)
    return Verdict(MODEL_READY, False, "NotLoaded", "No pod has loaded the model.")


def _available(target: Target, observed: Observed) -> Verdict:
    if observed.ready:
        return Verdict(AVAILABLE, True, "Serving", "At least one replica answers requests.")
    reason = STOPPED if target.replicas == 0 else "NoReplicaReady"
    return Verdict(AVAILABLE, False, reason, "No replica answers requests.")


def _progressing(target: Target, observed: Observed) -> Verdict:
    if _complete(target, observed):
        return Verdict(PROGRESSING, False, "Complete", "Every replica is as the spec says.")
    return Verdict(PROGRESSING, True, ROLLING_OUT, "Replicas are being brought to the newest spec.")


def _autoscaling(target: Target, observed: Observed) -> list[Verdict]:
    """Said only where there is scaling."""
    if target.scaling is None:
        return []
    word = scaling.said(target.scaling, observed)
    return [Verdict(AUTOSCALING, word.holds, word.reason, word.message)]


def _ready(target: Target, observed: Observed, finding: Finding | None) -> Verdict:
    if target.replicas == 0 and _complete(target, observed):
        return Verdict(READY, True, STOPPED, "Stopped as asked for: replicas is 0.")
    if _complete(target, observed):
        return Verdict(READY, True, READY, "Every replica serves.")
    if finding:
        return Verdict(READY, False, finding.reason, finding.message)
    if not observed.ready:
        return Verdict(READY, False, findings.STARTING, "Pods are being made.")
    return Verdict(READY, False, ROLLING_OUT, "Replicas are being brought to the newest spec.")


def _complete(target: Target, observed: Observed) -> bool:
    deployment = observed.deployment
    counts = {deployment.replicas, deployment.updated, observed.ready}
    return deployment.settled and counts == {target.replicas}


def _phase(target: Target, observed: Observed, finding: Finding | None) -> str:
    serving = f"{observed.ready} of {target.replicas} replicas serve"
    if _complete(target, observed):
        return f"Ready: {serving}" if target.replicas else "Stopped: 0 replicas asked for"
    if finding is None:
        return f"Rolling out: {serving}" if observed.ready else "Starting"
    return f"{finding.summary}; {serving}" if observed.ready else finding.summary


def _conditions(
    verdicts: list[Verdict], previous: list[Condition], generation: int, now: str
) -> list[Condition]:
    """The verdicts as conditions; what is not judged anew is kept, and so is the time of no change."""
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
    return status.model_dump(by_alias=True, exclude_none=True)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a status, {} where it has not been said yet."""
    return next((item for item in status.get("conditions", []) if item["type"] == kind), {})
