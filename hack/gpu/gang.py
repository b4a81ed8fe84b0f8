"""A model over two pods with one GPU each, simulated on one host: `python -m hack.gpu.gang`.

The tokens have to be those of a single process with NCCL's default transport, and with its transports
inside a host disabled, so that it uses the network as between two nodes. Then a rank is killed during
a collective operation, and all ranks have to exit. Prints JSON.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.models.tiny import make_tiny
from tests.support.model_server.gang import GangProcesses
from tests.support.server_process import ServerProcess
from tests.unit.model_server.models.stepping import prompt

LENGTHS = (1, 30, 600)
BODY = {"model": "deepseek-v3", "temperature": 0, "max_tokens": 16, "ignore_eos": True}
# What adds up in another order differs in the last digits, and not in the tokens.
EXACT = {"device": "cuda", "attention": "sdpa"}
NETWORK_ONLY = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
SOON = 60.0  # seconds


def answers(server: ServerProcess) -> list[list[int]]:
    """Return the tokens of greedy answers."""
    body = {**BODY, "return_token_ids": True, "prompt": [prompt(length) for length in LENGTHS]}
    answer = server.client.post("/v1/completions", json=body).raise_for_status()
    return [choice["token_ids"] for choice in answer.json()["choices"]]


def alone(model: Path, directory: Path) -> list[list[int]]:
    """Return the answers of a single process."""
    config = directory / "alone.json"
    config.write_text(json.dumps({"model": {"dtype": "float32"}, **EXACT}))
    with ServerProcess(model, directory / "alone.log", "--config", str(config)) as server:
        return answers(server.wait_until_ready())


def together(model: Path, directory: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the answers of two pods, the transport between their GPUs, and their exits."""
    directory.mkdir()
    os.environ.update(environment)
    content = {"model": {"dtype": "float32"}, **EXACT}
    began = time.monotonic()
    with GangProcesses(model, directory, content=content, own_gpus=True) as pods:
        pods.wait_until_ready()
        ready = time.monotonic() - began
        found = pods.leader.client.get("/health/ready").json()["gang"]
        tokens = answers(pods.leader)
        (rank,) = pods.pods[1].workers()
        rank.kill()
        killed = time.monotonic()
        ends = [pods.ended(index, SOON) for index in (1, 0)]
        seconds = time.monotonic() - killed
    for name in environment:
        del os.environ[name]
    return {
        "tokens": tokens,
        "network": found,
        "seconds to ready": ready,
        "ended": ends,
        "seconds to end": seconds,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        model = make_tiny("deepseek-v3", directory / "deepseek-v3", moe_intermediate_size=64)
        result: dict[str, Any] = {}
        for name, environment in (("as NCCL chooses", {}), ("network only", NETWORK_ONLY)):
            result[name] = together(model, directory / name.replace(" ", "-"), environment)
            print(json.dumps({name: result[name]}), flush=True)
        expected = alone(model, directory)
    parted = [name for name, found in result.items() if found["tokens"] != expected]
    print(json.dumps({"the tokens of one process": not parted}))
    if parted:
        raise SystemExit(f"the answers of two pods and one process differ: {', '.join(parted)}")


if __name__ == "__main__":
    main()
