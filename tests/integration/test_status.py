"""`deepseek status` against a real API server and the operator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.command import deepseek, kubeconfig_of
from tests.support.kube import Kube, eventually, resource
from tests.support.operator_process import OperatorProcess


def test_status_shows_the_status_and_events_of_resources(
    kube: Kube, operator: OperatorProcess
) -> None:
    config = kube.target.kubeconfig
    kube.apply(resource("r1"), resource("oops", model={"id": "deepseek-ai/DeepSeek-V1.5"}))
    eventually("a verdict", lambda: kube.condition("oops", "Accepted"))
    eventually("a status", lambda: kube.condition("r1", "Accepted"))
    eventually("an Event", lambda: kube.events("oops"))
    listed = deepseek(config, "status", "-n", kube.namespace, "-o", "json").data
    assert [item["name"] for item in listed] == ["oops", "r1"]
    live = kube.get("dsd", "oops")
    assert live is not None
    one = deepseek(config, "status", "oops", "-n", kube.namespace, "-o", "json").data
    assert (one["status"], one["current"]) == (live["status"], True)
    assert any("has not published" in event["message"] for event in one["events"])
    table = deepseek(config, "status", "-n", kube.namespace)
    assert "Rejected: DeepSeek has not published" in table.out
    page = deepseek(config, "status", "oops", "-n", kube.namespace)
    assert "UnknownModel" in page.out
    everywhere = deepseek(config, "status", "-A", "-o", "json").data
    assert {"namespace": kube.namespace, "name": "r1"}.items() <= {
        key: value
        for item in everywhere
        if item["name"] == "r1" and item["namespace"] == kube.namespace
        for key, value in item.items()
    }.items()


def test_missing_and_unreconciled_resources_are_reported(kube: Kube) -> None:
    config = kube.target.kubeconfig
    assert (
        "There are no DeepSeekDeployments" in deepseek(config, "status", "-n", kube.namespace).out
    )
    missing = deepseek(config, "status", "r1", "-n", kube.namespace)
    assert (missing.code, "There is no DeepSeekDeployment r1" in missing.err) == (2, True)
    kube.apply(resource("r1"))
    assert "not reconciled yet" in deepseek(config, "status", "-n", kube.namespace).out


def test_the_default_namespace_is_that_of_the_context(kube: Kube, tmp_path: Path) -> None:
    reported = yaml.safe_load(kube.target.kubeconfig.read_text())
    reported["contexts"][0]["context"]["namespace"] = kube.namespace
    config = tmp_path / "config"
    config.write_text(yaml.safe_dump(reported))
    kube.apply(resource("r1"))
    for options in ((), ("--context", "deepseek-operator")):
        (found,) = deepseek(config, "status", "-o", "json", *options).data
        assert found["namespace"] == kube.namespace
    assert deepseek(config, "status", "--context", "nowhere").code == 2


def test_a_missing_permission_is_reported(kube: Kube, tmp_path: Path) -> None:
    kube.run("create", "serviceaccount", "stranger")
    token = kube.run("create", "token", "stranger").strip()
    config = kubeconfig_of(kube.target.kubeconfig, tmp_path / "stranger", token)
    found = deepseek(config, "status", "-n", kube.namespace)
    assert found.code == 4
    assert 'cannot list resource "deepseekdeployments"' in found.err
    kube.run("create", "role", "reader", "--verb=list", "--resource=deepseekdeployments")
    kube.run("create", "rolebinding", "reader", "--role=reader",
             f"--serviceaccount={kube.namespace}:stranger")  # fmt: skip
    kube.apply(resource("r1"))
    found = deepseek(config, "status", "r1", "-n", kube.namespace)
    assert (found.code, "permission to list events" in found.out) == (0, True)


def hear_ctrl_c() -> None:
    """Restore SIGINT, which children ignore if the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("output", ["table", "json"])
def test_watch_follows_changes(kube: Kube, output: str, tmp_path: Path) -> None:
    kube.apply(resource("r1"))
    log = tmp_path / "log"
    command = ["status", "r1", "-n", kube.namespace, "--watch", "-o", output]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepseek_operator.cli", *command],
            env={**os.environ, "KUBECONFIG": str(kube.target.kubeconfig), "PYTHONUNBUFFERED": "1"},
            stdout=out,
            stderr=out,
            preexec_fn=hear_ctrl_c,
        )
    try:
        eventually("the first output", lambda: "DeepSeek-R1" in log.read_text())
        status = '{"status": {"phase": "Quite something", "observedGeneration": 1}}'
        kube.run("patch", "dsd", "r1", "--subresource=status", "--type=merge", "--patch", status)
        eventually("the change", lambda: "Quite something" in log.read_text())
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()
