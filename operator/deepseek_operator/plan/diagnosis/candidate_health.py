"""Failure of a candidate: a finding that only another spec resolves, or one that lasts too long."""

from datetime import datetime

from deepseek_operator.api.rollout import Rollout, seconds
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.state.observed import Observed, PodView

# Seconds in which a failed start may recover: an image pull is retried, a server restarted.
PATIENCE = 120.0


def candidate_failure(
    desired: DesiredState, observed: Observed, rules: Rollout, now: datetime
) -> str:
    """Return why a candidate has failed, empty if it may still serve.

    Args:
        desired: The candidate's desired state.
        observed: Its pods.
        rules: `spec.rollout`.
        now: The time.
    """
    finding = findings.find(desired, observed)
    if finding is None:
        return ""
    if finding.reason in findings.STALLED:
        return finding.message
    if observed.failed:
        # When one pod of a replica ends, the others end with it and all are recreated.
        code, reason, message = observed.failed[0].exited or (0, "", "")
        last = (message.strip().splitlines() or [reason])[-1]
        return f"Pod {observed.failed[0].name} of a replica ended with exit code {code}: {last}"
    # Waiting for a node is not a failure of the candidate.
    waits = max((_waited(pod, now) for pod in observed.pods), default=0.0)
    passes = finding.reason in findings.ORDINARY | findings.WAITING
    if not passes and waits >= PATIENCE:
        return finding.message
    limit = deadline(desired, rules)
    if waits >= limit:
        return f"A replica was not ready within {limit:.0f} s after it was scheduled. {finding.message}"
    return ""


def deadline(desired: DesiredState, rules: Rollout) -> float:
    """Return the seconds within which a scheduled replica must become ready."""
    if rules.progress_deadline:
        return float(seconds(rules.progress_deadline))
    return float(desired.config["startSeconds"])


def _waited(pod: PodView, now: datetime) -> float:
    """Return the seconds for which a scheduled pod has not been ready."""
    if pod.ready or not pod.scheduled or pod.ready_changed is None:
        return 0.0
    return (now - pod.ready_changed).total_seconds()
