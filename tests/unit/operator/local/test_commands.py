"""Commands that start servers."""

import json
import stat
import sys
from pathlib import Path

import pytest

from deepseek_operator.local import orphans, probing
from deepseek_operator.local.commands import MARK, Command, Files, command, config_text
from deepseek_operator.local.host import Gpu
from deepseek_operator.local.launch_plan import LaunchPlan, Replica
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT

FILES = Files(Path("/s/replica-1.json"), Path("/s/replica-1.last-words"), Path("/hf"), (7, 8))
REPLICA = Replica(index=1, gpus=("GPU-a", "GPU-b"))


def launch_plan(**fields: object) -> LaunchPlan:
    return LaunchPlan.model_validate(
        {
            "name": "r1",
            "model_id": "tiny",
            "served_name": "tiny",
            "source": "directory /models/v3",
            "runs_on": "2 x nvidia-l4",
            "config": {"version": 1, "drainSeconds": 60},
            "args": ("--request-timeout-seconds", "9"),
            "env": {"A": "b"},
            "replicas": (REPLICA,),
            "run": "run",
            "weights": Path("/models/v3"),
            **fields,
        }
    )


def made(of: LaunchPlan, replica: Replica = REPLICA, **shell: str) -> Command:
    return command(of, replica, FILES, 4242, shell)


def test_the_command_of_a_process() -> None:
    found = made(launch_plan())
    server = (sys.executable, "-m", "deepseek_server", "--config", "/s/replica-1.json")
    assert found.arguments == (*server, "--request-timeout-seconds", "9")
    assert found.env == {
        "A": "b",
        "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b",
        "TERMINATION_LOG": "/s/replica-1.last-words",
        MARK: "run/1",
    }


def test_threads_are_limited_unless_the_user_has_set_them() -> None:
    on_cpu = launch_plan(threads=3)
    assert made(on_cpu, Replica(index=0)).env["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in made(on_cpu, Replica(index=0), OMP_NUM_THREADS="1").env
    theirs = launch_plan(threads=3, env={"OMP_NUM_THREADS": "7"})
    assert made(theirs, Replica(index=0)).env["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("engine", "devices"),
    [
        ("docker", ["--user", "7:8", "--gpus", '"device=GPU-a,GPU-b"']),
        (
            "podman",
            [
                "--userns",
                "keep-id",
                "--device",
                "nvidia.com/gpu=GPU-a",
                "--device",
                "nvidia.com/gpu=GPU-b",
            ],
        ),
    ],
)
def test_the_command_of_a_container(engine: str, devices: list[str]) -> None:
    asked = launch_plan(engine=engine, image="server:1", shm=2**30, keys=Path("/keys.json"))
    found = made(asked, HF_TOKEN="secret", SHELL="/bin/sh")
    text = " ".join(found.arguments)
    assert found.env == {}
    assert found.arguments[:4] == (engine, "run", "--rm", "--init")
    assert "--name deepseek-r1-1 --label io.deepseek-operator.local=run/1" in text
    assert "--publish 127.0.0.1:4242:8000" in text
    assert "--volume /s/replica-1.json:/etc/deepseek/config.json:ro" in text
    assert f"--volume /models/v3:{MODEL_MOUNT}:ro" in text
    assert "--volume /keys.json:/etc/deepseek/keys.json:ro" in text
    assert "--env HF_TOKEN " in text
    assert "secret" not in text
    assert "--env A=b" in text
    assert "SHELL" not in text
    assert " ".join(devices) in text
    end = ("server:1", "--config", "/etc/deepseek/config.json", "--request-timeout-seconds", "9")
    assert found.arguments[-5:] == end
    assert json.loads(config_text(asked, 4242))["listen"] == {"host": "0.0.0.0", "port": 8000}


def test_orphaned_containers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses a fake docker that lists three containers and records its arguments."""
    reported = tmp_path / "reported"
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {reported}\n'
        '[ "$1" = ps ] && printf "aa run/0\\nbb run/1\\ncc other/0\\n"\n'
        "exit 0\n"
    )
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert probing.container_engine() == "docker"
    assert orphans.end("run", 1, "docker") == 1
    assert reported.read_text().splitlines()[-1] == "rm --force bb"
    assert orphans.end("run", None, "docker") == 2
    assert reported.read_text().splitlines()[-1] == "rm --force aa bb"


def test_the_output_of_nvidia_smi_is_parsed() -> None:
    shown = (
        "GPU-1, NVIDIA H100 80GB HBM3, 81559, 4, 9.0\n"
        "GPU-2, NVIDIA L4, 23034, 20000, 8.9\n"
        "GPU-3, NVIDIA Thing, [N/A], [N/A], 1.0\n"
        "No devices were found\n"
    )
    first, second = probing.read_gpus(shown)
    assert first == Gpu("GPU-1", "NVIDIA H100 80GB HBM3", 81559, 4, "9.0")
    assert (first.kind, first.busy) == ("nvidia-h100", False)
    assert (second.kind, second.busy) == ("nvidia-l4", True)
