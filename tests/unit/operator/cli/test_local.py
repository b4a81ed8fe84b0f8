"""Output of the `deepseek local` commands, without a server."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.cli.local.watch import Watch
from deepseek_operator.cli.resource import read
from deepseek_operator.local import probing
from deepseek_operator.local import state_dir as state_dirs
from deepseek_operator.local.host import Gpu, Host
from deepseek_operator.local.launch_plan import LaunchPlan, Replica, arrange
from deepseek_operator.local.local_overrides import Overrides
from deepseek_operator.local.state_dir import StateDir
from deepseek_operator.local.view import Ended, ReplicaView
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from tests.unit.operator.cli.command import Result, deepseek
from tests.unit.operator.cli.golden import EXAMPLES
from tests.unit.operator.local.views import view

SMALL = {"model": {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state_dirs, "root", lambda: tmp_path / "local")
    monkeypatch.setattr(probing, "look", lambda _: Host(memory=4 * 10**9, disk=10**12))
    return tmp_path


def up(folder: Path, *options: object, **spec: Any) -> Result:
    body = {
        "apiVersion": "deepseek-operator.io/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "r1"},
        "spec": spec or SMALL,
    }
    file = folder / "r1.yaml"
    file.write_text(yaml.safe_dump(body))
    return deepseek("local", "up", file, *options)


def state_dir_of(name: str, *replicas: ReplicaView, **fields: Any) -> StateDir:
    """Return the state directory of a resource that was running."""
    found = StateDir.of(name)
    lock = found.lock()
    assert lock is not None
    shown = view(*replicas, name=name, run=f"test-{os.getpid()}", **fields)
    found.write_view(shown)
    found.write_launch_plan(
        LaunchPlan(
            name=name,
            model_id="tiny",
            served_name="tiny",
            source="",
            runs_on="CPU",
            config={"drainSeconds": 1},
            replicas=tuple(Replica(index=replica.index) for replica in replicas),
            run=shown.run,
        )
    )
    os.close(lock)
    return found


def test_missing_packages_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SERVER_NEEDS", ("no_such_package", "json"))
    result = up(home)
    assert result.code == 2
    assert "no_such_package not installed. Run pip install '.[server]'" in result.err


def test_a_missing_container_engine_is_reported(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ENGINES", ("no-such-engine",))
    result = up(home, "--container")
    assert result.code == 2
    assert "neither docker nor podman responds" in result.err


def test_a_refusal_exits_with_code_1(home: Path) -> None:
    result = up(home)
    assert result.code == 1
    assert result.err.startswith(
        "Error: DoesNotFit: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B does not"
    )
    assert not (home / "local").exists()


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "tiny"},
        {"model": None},
        {"model": {"id": 7}},
        {"model": {"id": "x", "source": "y"}},
        {"model": {"id": "x", "source": {"hostPath": "y"}}},
        {**SMALL, "accelerator": 3},
        {**SMALL, "security": [], "rollout": 7},
    ],
)
def test_an_invalid_spec_is_rejected_with_a_message(home: Path, spec: dict[str, Any]) -> None:
    result = up(home, **spec)
    assert result.code == 1
    assert "SpecUnreadable: spec." in result.err


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("gpus", [0, 8])
def test_every_example_is_served_or_refused_with_a_known_reason(file: Path, gpus: int) -> None:
    here = tuple(Gpu(f"GPU-{n}", "NVIDIA H200", 143_771, 0, "9.0") for n in range(gpus))
    machine = Host(memory=10**13, disk=10**13, gpus=here)
    for body in read(file, None, None) if "DeepSeekDeployment" in file.read_text() else []:
        found = arrange(body, Settings("server:1"), machine, Overrides())
        if isinstance(found, Refusal):
            assert found.reason in ("NotLocal", "DoesNotFit", "NothingAsked")
        else:
            assert found.launch_plan.replicas
            assert ("nvidia-h200" in found.launch_plan.runs_on) == bool(gpus)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--memory", "much"), "--memory much is not a quantity: write it as 16Gi."),
        (("--weights", "/nowhere"), "/nowhere is not a model directory"),
        (("--api-keys", "/nowhere"), "--api-keys /nowhere: file not found."),
        (("--device", "cuda"), "--device cuda: this machine has no free NVIDIA GPU"),
        (("--memory", "64Gi", "--host", "203.0.113.1"), "203.0.113.1 port 8000 can't be opened"),
    ],
)
def test_invalid_options_are_rejected(home: Path, options: tuple[str, ...], message: str) -> None:
    result = up(home, *options)
    assert result.code == 2
    assert message in result.err
    assert not list((home / "local").glob("*"))


@pytest.mark.parametrize("security", [{"apiKeys": {"secretName": "keys"}}])
def test_a_resource_with_api_keys_is_not_exposed_without_keys(
    home: Path, security: dict[str, Any]
) -> None:
    result = up(home, "--host", "0.0.0.0", **SMALL, security=security)
    assert result.code == 2
    assert "add --api-keys FILE, or leave out --host" in result.err


def test_commands_without_resources() -> None:
    assert deepseek("local", "status").out == "No resources on this machine.\n"
    assert deepseek("local", "status", "-o", "json").out == "[]\n"
    for command in ("down", "logs"):
        result = deepseek("local", command, "r1")
        assert (result.code, result.err) == (
            2,
            "Error: No resource r1 on this machine.\n",
        )


def test_status_and_down_of_a_killed_and_a_failed_resource() -> None:
    ended = Ended(at="", code=3, words="exited with code 3", why="there is no config.json")
    stopped = ReplicaView(index=0, phase="stopped", detail="Fix it.", ended=ended)
    state_dir_of("a", ReplicaView(index=0, phase="ready"))
    state_dir_of("b", stopped, over=True)
    result = deepseek("local", "status")
    rows = [line.split() for line in result.out.splitlines()[1:3]]
    assert [row[:3] for row in rows] == [["a", "Killed", "0/1"], ["b", "Failed", "0/1"]]
    assert "replica 0 exited with code 3 (there is no config.json). Fix it." in result.out
    assert "replica 0: killed with its supervisor" in result.out
    both = deepseek("local", "down")
    assert both.err == "Error: There are several resources, give the name of one: a, b.\n"
    assert deepseek("local", "down", "a").err == "a is stopped and removed.\n"
    assert deepseek("local", "down").err == "b is stopped and removed.\n"


def test_logs_of_all_replicas_and_of_one() -> None:
    found = state_dir_of("r1", ReplicaView(index=0), ReplicaView(index=1), over=True)
    found.log(0).write_text("a\nb\nc\n")
    found.log(1).write_text("d\n")
    assert deepseek("local", "logs", "--lines", "2").out == "[0] b\n[0] c\n[1] d\n"
    assert deepseek("local", "logs", "--replica", "1", "--follow").out == "d\n"
    result = deepseek("local", "logs", "--replica", "7")
    assert result.err == "Error: r1 has no log of replica 7; available: 0, 1.\n"


def test_progress_output_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    loading = ReplicaView(index=0, phase="loading", total_bytes=100)
    ended = Ended(at="", code=-9, words="was killed by SIGKILL", log=("one", "two"))
    with Watch("Stop with Ctrl-C.") as watch:
        for loaded in range(0, 101, 5):
            detail = f"loading tiny: {loaded} % of 100 B"
            watch(view(loading.model_copy(update={"loaded_bytes": loaded, "detail": detail})))
        pausing = ReplicaView(
            index=0, phase="pausing", detail="Again in 1 s.", ended=ended, starts=1
        )
        for _ in range(3):
            watch(view(pausing))
        assert not watch.settled
        watch(view(ReplicaView(index=0, phase="ready", detail="the model takes requests")))
        assert watch.ready
        watch(view(ReplicaView(index=0, phase="draining"), asked_to_end=True, requests=2))
    out, err = capsys.readouterr()
    assert out == (
        "r1 is ready at http://127.0.0.1:8000/v1, model name tiny (CPU). Stop with Ctrl-C.\n"
    )
    assert err.splitlines() == [
        "replica 0: loading tiny: 0 % of 100 B",
        "replica 0: loading tiny: 25 % of 100 B",
        "replica 0: loading tiny: 50 % of 100 B",
        "replica 0: loading tiny: 75 % of 100 B",
        "replica 0: loading tiny: 100 % of 100 B",
        "replica 0 was killed by SIGKILL. Again in 1 s.",
        "  one",
        "  two",
        "replica 0: the model takes requests",
        "Draining: 2 running requests. Ctrl-C stops immediately.",
    ]
