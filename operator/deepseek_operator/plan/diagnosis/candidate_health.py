"""Why a candidate will not serve: what nothing but another spec mends, or what has lasted too long."""

from datetime import datetime

from deepseek_operator.api.rollout import Rollout, seconds
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.state.observed import Observed, PodView

# What a start that goes wrong gets to come right by itself: an image is pulled again, a server restarted.
PATIENCE = 120.0


def broken(target: Target, observed: Observed, rules: Rollout, now: datetime) -> str:
    """Why a candidate will not serve, empty where it may.

    Args:
        target: What its pods shall be.
        observed: Its pods.
        rules: `spec.rollout`.
        now: The time.
    """
    finding = findings.find(target, observed)
    if finding is None:
        return ""
    if finding.reason in findings.STALLED:
        return finding.message
    if observed.failed:
        # Of several pods one that ends takes the others with it, and they are made anew.
        code, reason, words = observed.failed[0].exited or (0, "", "")
        last = (words.strip().splitlines() or [reason])[-1]
        return f"Pod {observed.failed[0].name} of a replica ended with exit code {code}: {last}"
    # Waiting for a node is nothing that speaks against it.
    waits = max((_waited(pod, now) for pod in observed.pods), default=0.0)
    passes = finding.reason in findings.ORDINARY | findings.WAITING
    if not passes and waits >= PATIENCE:
        return finding.message
    limit = deadline(target, rules)
    if waits >= limit:
        return (
            f"A replica does not serve within {limit:.0f} s of getting its node. {finding.message}"
        )
    return ""


def deadline(target: Target, rules: Rollout) -> float:
    """Seconds that a replica may take to serve once it has a node."""
    if rules.progress_deadline:
        return float(seconds(rules.progress_deadline))
    return float(target.config["startSeconds"])


def _waited(pod: PodView, now: datetime) -> float:
    """Seconds since which a pod that has a node does not serve."""
    if pod.ready or not pod.scheduled or pod.turned is None:
        return 0.0
    return (now - pod.turned).total_seconds()
