"""What GitOps tools make of a status: Argo CD by our Lua file, Flux and others by kstatus' rules."""

from __future__ import annotations

from typing import Any

import pytest
from lupa.lua51 import LuaRuntime

from deepseek_operator.api.crd import definition
from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import DeploymentView, Observed, PodView
from deepseek_operator.plan.status import conditions as status
from tests.support.operator.resources import NOW, SETTINGS, deployment, pod, resource
from tests.support.repository import ROOT

HEALTH = ROOT / "docs/argocd/health.lua"
RUNNING = {"running": {"startedAt": NOW}}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "boom"}}
NO_MODEL = {"terminated": {"exitCode": 3, "reason": "Error", "message": "No config.json."}}
SERVES = pod(ready=True, state=RUNNING)

Resource = dict[str, Any]


def reported(body: Resource, *pods: Resource, rolling: bool = False) -> Resource:
    """The resource with the status that the operator writes for it."""
    live = deployment(len(pods))
    if rolling:
        live["status"]["updatedReplicas"] = 0
    observed = Observed(DeploymentView.of(live), tuple(PodView.of(item) for item in pods))
    result = report(body, decide(body, SETTINGS, observed), observed, NOW)
    return {**body, "status": result.status}


def changing(reason: str) -> Resource:
    """With a second set of pods, or the report after its removal."""
    change = RolloutStatus(
        strategy="canary",
        revision="b",
        step=1,
        steps=2,
        weight=5,
        reason=reason,
        message="Revision b was rolled back (AnalysisFailed). It is slow.",
        updated_replicas=1,
        start_time=NOW,
    )
    observed = Observed(DeploymentView.of(deployment(1)), (PodView.of(SERVES),), change=change)
    body = resource()
    result = report(body, decide(body, SETTINGS, observed), observed, NOW)
    return {**body, "status": result.status}


def new() -> Resource:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return {**resource(), "status": schema["properties"]["status"]["default"]}


def edited() -> Resource:
    body = reported(resource(), SERVES)
    body["metadata"]["generation"] += 1
    return body


def one_lost() -> Resource:
    """Two served; one is being loaded again."""
    second = pod("r1-b", ready=True, state=RUNNING)
    body = reported(resource(replicas=2), SERVES, second)
    return reported(body, SERVES, pod("r1-b", state=RUNNING))


# state: (resource, health in Argo CD, status by kstatus)
STATES: dict[str, tuple[Resource, str, str]] = {
    "just made": (new(), "Progressing", "InProgress"),
    "just edited": (edited(), "Progressing", "InProgress"),
    "loads": (reported(resource(), pod(state=RUNNING)), "Progressing", "InProgress"),
    "waits": (reported(resource(), pod(unschedulable="busy")), "Progressing", "InProgress"),
    "serves": (reported(resource(), SERVES), "Healthy", "Current"),
    "stopped": (reported(resource(replicas=0)), "Suspended", "Current"),
    "rolls out": (reported(resource(), SERVES, rolling=True), "Progressing", "InProgress"),
    "a canary is compared": (changing("Comparing"), "Progressing", "InProgress"),
    "rolled back": (changing("RolledBack"), "Degraded", "Failed"),
    "one lost": (one_lost(), "Degraded", "InProgress"),
    "crashes": (reported(resource(), pod(state=CRASHED)), "Degraded", "InProgress"),
    "no model": (reported(resource(), pod(state=NO_MODEL)), "Degraded", "Failed"),
    "refused": (
        reported(resource(model={"id": "deepseek-ai/DeepSeek-V1.5"})),
        "Degraded",
        "Failed",
    ),
}


def argo(body: Resource) -> Resource:
    """Run the Lua file as Argo CD does, with the resource as `obj`."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(body, recursive=True)
    return dict(lua.execute(HEALTH.read_text()))


def kstatus(body: Resource) -> str:
    """kstatus' rules for a kind that it does not know.

    Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
    """
    reported = body["status"]
    if reported.get("observedGeneration") not in (None, body["metadata"]["generation"]):
        return "InProgress"
    holds = {item["type"] for item in reported.get("conditions", []) if item["status"] == "True"}
    if "Reconciling" in holds:
        return "InProgress"
    return "Failed" if "Stalled" in holds else "Current"


@pytest.mark.parametrize("state", STATES)
def test_argo_cd(state: str) -> None:
    body, health, _ = STATES[state]
    answer = argo(body)
    assert answer["status"] == health
    assert answer["message"]


@pytest.mark.parametrize("state", STATES)
def test_kstatus(state: str) -> None:
    body, _, wanted = STATES[state]
    assert kstatus(body) == wanted


def test_reconciling_and_stalled_never_hold_both() -> None:
    for body, _, _ in STATES.values():
        both = [status.condition(body["status"], kind) for kind in ("Reconciling", "Stalled")]
        assert [item.get("status") for item in both] != ["True", "True"]


def test_the_lua_file_knows_every_reason_that_passes_by_itself() -> None:
    text = HEALTH.read_text()
    passing = findings.ORDINARY | findings.WAITING | {status.ROLLING_OUT, status.STOPPING}
    listed = text.partition("ordinary = {")[2].partition("}")[0]
    assert {line.split()[0] for line in listed.strip().splitlines()} == passing
