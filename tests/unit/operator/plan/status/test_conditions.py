"""Phase and conditions of a resource, state by state."""

from typing import Any

import pytest

from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import Report, decide, report
from deepseek_operator.plan.state.observed import DeploymentView, NodeView, Observed, PodView
from deepseek_operator.plan.status.conditions import condition
from tests.support.operator.resources import LATER, NOW, SETTINGS, deployment, node, pod, resource

RUNNING = {"running": {"startedAt": NOW}}


def reported(
    pods: list[dict[str, Any]] | None = None,
    settled: bool = True,
    nodes: list[dict[str, Any]] | None = None,
    mount_failure: str | None = None,
    body: dict[str, Any] | None = None,
    now: str = NOW,
) -> Report:
    body = body or resource()
    pods = [] if pods is None else pods
    observed = Observed(
        DeploymentView.of(deployment(len(pods), settled)),
        tuple(PodView.of(item, mount_failure) for item in pods),
        tuple(NodeView.of(item) for item in nodes or []),
    )
    return report(body, decide(body, SETTINGS, Observed()), observed, now)


def events_of(report: Report) -> list[tuple[bool, str]]:
    return [(item.warning, item.reason) for item in report.events]


def ready(status: dict[str, Any]) -> dict[str, Any]:
    return condition(status, "Ready")


def test_ready() -> None:
    status = reported([pod(ready=True, state=RUNNING)]).status
    assert status["phase"] == "Ready: 1 of 1 replicas serve"
    assert status["endpoint"] == "http://r1.apps.svc"
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "Accepted": "True",
        "Scheduled": "True",
        "ModelReady": "True",
        "Available": "True",
        "Progressing": "False",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }


def test_loading() -> None:
    status = reported([pod(state=RUNNING)]).status
    assert status["phase"] == "Loading the model"
    assert "deepseek-ai/DeepSeek-R1@main" in ready(status)["message"]


def test_old_pods_do_not_make_a_new_spec_ready() -> None:
    status = reported([pod(ready=True, state=RUNNING)], settled=False).status
    assert ready(status)["status"] == "False"
    assert condition(status, "Available")["status"] == "True"


def test_zero_replicas_is_ready_and_stopped() -> None:
    status = reported([], body=resource(replicas=0)).status
    assert status["phase"] == "Stopped: replicas is 0"
    assert ready(status)["status"] == "True"
    assert condition(status, "Available")["status"] == "False"


@pytest.mark.parametrize(
    ("accelerator", "nodes", "reason", "words"),
    [
        (
            {"count": 64},
            [node("a", 8), node("b", 4)],
            "NoFittingNode",
            "a, has 8. Set accelerator.count",
        ),
        ({"count": 1}, [node("a")], "NoFittingNode", "no node advertises nvidia.com/gpu"),
        (
            {"profile": "nvidia-h200"},
            [node("a", 8, **{"nvidia.com/gpu.product": "Tesla-T4"})],
            "NoFittingNode",
            "no node is labelled with this kind of GPU",
        ),
        ({"count": 4}, [node("a", 8)], "WaitingForGPU", "none can run pod r1-a now"),
        (
            {"profile": "nvidia-h200", "count": 8},
            [node("a", 8, **{"nvidia.com/gpu.product": "NVIDIA-H200"})],
            "WaitingForGPU",
            "Scheduler: busy (since 2026-01-01T00:00:00Z)",
        ),
    ],
)
def test_unschedulable_pod_reports_its_reason(
    accelerator: dict[str, Any], nodes: list[dict[str, Any]], reason: str, words: str
) -> None:
    body = resource(accelerator=accelerator)
    status = reported([pod(unschedulable="busy")], nodes=nodes, body=body).status
    assert ready(status)["reason"] == reason
    assert words in ready(status)["message"]
    assert condition(status, "Scheduled")["status"] == "False"


@pytest.mark.parametrize(
    ("state", "last", "reason", "words"),
    [
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}},
            None,
            "ImageUnavailable",
            "no such tag",
        ),
        (
            {
                "waiting": {
                    "reason": "CreateContainerConfigError",
                    "message": 'secret "hf" not found',
                }
            },
            None,
            "ContainerRefused",
            'secret "hf" not found',
        ),
        (
            {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            {
                "terminated": {
                    "exitCode": 3,
                    "reason": "Error",
                    "message": "No config.json in /models.",
                }
            },
            "ModelUnusable",
            "No config.json in /models.",
        ),
        (
            {
                "terminated": {
                    "exitCode": 4,
                    "reason": "Error",
                    "message": "The hub can't be reached.",
                }
            },
            None,
            "SourceUnreachable",
            "The hub can't be reached.",
        ),
        (
            RUNNING,
            {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            "OutOfMemory",
            "resources.limits.memory",
        ),
        (
            {"waiting": {"reason": "CrashLoopBackOff"}},
            {"terminated": {"exitCode": 1, "reason": "Error"}},
            "ServerCrashed",
            "kubectl logs --previous r1-a",
        ),
        (
            {"waiting": {"reason": "CrashLoopBackOff"}},
            {"terminated": {"exitCode": 2, "message": "usage: ...\nunknown argument --turbo\n"}},
            "ServerCrashed",
            "exit code 2: unknown argument --turbo (see",
        ),
    ],
)
def test_pod_failure_is_reported_with_its_own_message(
    state: dict[str, Any], last: dict[str, Any] | None, reason: str, words: str
) -> None:
    status = reported([pod(state=state, last=last)]).status
    assert ready(status)["reason"] == reason
    assert words in ready(status)["message"]
    assert condition(status, "ModelReady")["reason"] == reason
    assert condition(status, "Scheduled")["status"] == "True"


def test_restart_after_a_crash_reports_loading() -> None:
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    assert reported([pod(state=RUNNING, last=last)]).status["phase"] == "Loading the model"


def test_failed_mount() -> None:
    state = {"waiting": {"reason": "ContainerCreating"}}
    status = reported([pod(state=state)], mount_failure="/models/x is not a directory").status
    assert status["phase"] == "Cannot mount the weights"
    assert "/models/x is not a directory" in ready(status)["message"]


def test_mount_failure_is_cleared_once_the_server_runs() -> None:
    status = reported([pod(state=RUNNING)], mount_failure="not yet").status
    assert ready(status)["reason"] == findings.LOADING


def test_one_broken_replica_is_degraded_and_still_available() -> None:
    bad = pod("r1-b", state={"waiting": {"reason": "ErrImagePull", "message": "denied"}})
    body = resource(replicas=2)
    status = reported([pod(ready=True, state=RUNNING), bad], body=body).status
    assert status["phase"] == "Degraded: cannot pull the image; 1 of 2 replicas serve"
    assert condition(status, "Available")["status"] == "True"


def test_refused_pods() -> None:
    body = resource()
    failed = deployment(0)
    failed["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}
    ]
    observed = Observed(DeploymentView.of(failed))
    status = report(body, decide(body, SETTINGS, Observed()), observed, NOW).status
    assert ready(status)["reason"] == "PodsRefused"
    assert "exceeded quota: gpus" in ready(status)["message"]


def test_refused_edit_keeps_the_status_of_serving_pods() -> None:
    before = reported([pod(ready=True, state=RUNNING)]).status
    body = resource(before, generation=2, model={"id": "deepseek-ai/DeepSeek-V1.5"})
    status = report(body, decide(body, SETTINGS, Observed()), Observed(), LATER).status
    assert status["phase"] == (
        "Rejected: DeepSeek has not published deepseek-ai/DeepSeek-V1.5, as of 2026-11-24"
    )
    assert condition(status, "Accepted")["status"] == "False"
    assert condition(status, "Available")["status"] == "True"
    assert status["endpoint"] == "http://r1.apps.svc"
    assert status["observedGeneration"] == 2


def test_unchanged_state_changes_no_status_and_makes_no_event() -> None:
    first = reported([pod(state=RUNNING)])
    again = reported([pod(state=RUNNING)], body=resource(first.status), now=LATER)
    assert again.status == first.status
    assert again.events == []


def test_transition_time_changes_only_with_the_status() -> None:
    before = reported([pod(state=RUNNING)]).status
    after = reported([pod(ready=True, state=RUNNING)], body=resource(before), now=LATER).status
    assert ready(after)["lastTransitionTime"] == LATER
    assert condition(after, "Accepted")["lastTransitionTime"] == NOW


def test_events_are_emitted_once_and_failures_as_warnings() -> None:
    before = reported([pod(state=RUNNING)]).status
    trouble = {"waiting": {"reason": "ErrImagePull", "message": "denied"}}
    after = reported([pod(state=trouble)], body=resource(before))
    assert events_of(after) == [(True, "ImageUnavailable")]
    assert reported([pod(state=trouble)], body=resource(after.status)).events == []
    healed = reported([pod(ready=True, state=RUNNING)], body=resource(after.status))
    assert events_of(healed) == [(False, "Ready")]
