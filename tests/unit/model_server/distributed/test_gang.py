"""A model over several pods, from their rendezvous to every way of ending."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deepseek_server.config import validate
from deepseek_server.errors import PermanentError
from deepseek_server.server import main as process
from hack.models.tiny import make_tiny
from tests.support.model_server.gang import GangProcesses
from tests.unit.model_server.models.stepping import generated, load, prompt

SOON = 90.0  # seconds, on a machine that is busy
LENGTHS = (1, 30, 600)
BODY = {"model": "deepseek-v3", "temperature": 0, "max_tokens": 8, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose experts four ranks can split: on a CPU torch requires multiples of 16 bytes."""
    directory = tmp_path_factory.mktemp("gang") / "deepseek-v3"
    return make_tiny("deepseek-v3", directory, moe_intermediate_size=64)


@pytest.fixture
def gang(model: Path, tmp_path: Path) -> Callable[..., GangProcesses]:
    return lambda *shape, **fields: GangProcesses(model, tmp_path, *shape, **fields)


@pytest.fixture(scope="module")
def expected(model: Path) -> list[list[int]]:
    """The answers of a single process."""
    alone = load(model)
    return [generated(alone, prompt(length), 8) for length in LENGTHS]


def greedy(gang: GangProcesses) -> list[list[int]]:
    """Return the answers of the pods."""
    gang.wait_until_ready()
    body = {**BODY, "return_token_ids": True, "prompt": [prompt(length) for length in LENGTHS]}
    answer = gang.leader.client.post("/v1/completions", json=body)
    assert answer.status_code == 200, gang.logs
    return [choice["token_ids"] for choice in answer.json()["choices"]]


def test_a_rank_that_dies_ends_all_pods(gang, expected) -> None:
    with gang() as pods:
        assert greedy(pods) == expected
        follower = pods.pods[1]
        assert follower.client.get("/health/live").json() == {"status": "live"}
        assert "deepseek_server_http_requests_total" in follower.client.get("/metrics").text
        for path in ("/v1/completions", "/v1/models", "/openapi.json"):
            refused = follower.client.post(path, json=BODY)
            assert refused.status_code == 421
            assert refused.json()["error"]["code"] == "not_the_leader"
            assert "send them to the leader 127.0.0.1" in refused.json()["error"]["message"]
        told = follower.client.get("/health/ready").json()
        assert told["detail"] == "ready as a follower of the leader 127.0.0.1"
        gangs = [pod.client.get("/health/ready").json()["gang"] for pod in pods.pods.values()]
        assert [found.pop("host") for found in gangs] == ["node-a", "node-b"]
        assert gangs[0] == gangs[1]
        assert gangs[0].pop("gigabytesPerSecond") > 0
        nothing = {"slowestPair": None, "problem": None}
        assert gangs[0] == {"pods": 2, "world": 2, "transport": "tcp", **nothing}

        (rank,) = follower.workers()
        rank.kill()
        code, sentence = pods.ended(1, SOON)
        assert code == 4
        assert "rank 1 on node-b has ended without an error message, most likely killed" in sentence
        assert pods.ended(0, SOON) == (
            4,
            "rank 1 on node-b has ended, so rank 0 ends too: see its log",
        )


@pytest.mark.long
def test_a_rank_that_hangs_ends_all_pods(gang, expected) -> None:
    with gang(2, 4, silenceSeconds=6) as pods:
        assert greedy(pods) == expected
        _, hanging = pods.pods[1].workers()
        assert hanging.environ()["RANK"] == "3"
        hanging.send_signal(signal.SIGSTOP)
        what = "rank 3 on node-b has sent no heartbeat for 6 s, so"
        assert pods.ended(0, SOON) == (5, f"{what} rank 0 ends too")
        assert pods.ended(1, SOON) == (5, f"{what} rank 2 ends too")


@pytest.mark.long
def test_followers_end_with_their_leader(gang, expected) -> None:
    with gang(4, 4) as pods:
        assert greedy(pods) == expected
        pods.leader.popen.kill()
        for rank in (1, 2, 3):
            code, sentence = pods.ended(rank, SOON)
            assert code == 4
            assert f"on node-a has ended, so rank {rank} ends too" in sentence


def test_followers_serve_until_the_leader_has_drained(gang) -> None:
    with gang(preflight={"policy": "warn", "minGigabytesPerSecond": 1e6}) as pods:
        pods.wait_until_ready()
        for pod in pods.pods.values():
            found = pod.client.get("/health/ready").json()["gang"]
            assert found["slowestPair"]["hosts"] == ["node-a", "node-b"]
            assert found["slowestPair"]["gigabytesPerSecond"] > 0
            assert "the network between the pods is too slow" in found["problem"]
        body = {**BODY, "prompt": "a", "max_tokens": 60, "stream": True}
        with pods.leader.client.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            follower = pods.pods[1]
            follower.terminate()
            follower.wait_for(lambda: follower.client.get("/health/ready").status_code == 503, SOON)
            told = follower.client.get("/health/ready").json()
            assert told["status"] == "draining"
            assert told["detail"] == "shutting down with the leader 127.0.0.1"
            pods.leader.terminate()
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert [pods.ended(index, SOON) for index in (0, 1)] == [(0, ""), (0, "")]
        assert "Traceback" not in pods.logs
        assert "ERROR" not in pods.logs


@pytest.mark.long
def test_a_follower_with_a_frozen_rank_ends_with_its_leader(gang) -> None:
    with gang(silenceSeconds=4) as pods:
        pods.wait_until_ready()
        (rank,) = pods.pods[1].workers()
        rank.send_signal(signal.SIGSTOP)
        assert pods.ended(0, SOON)[0] == 5
        pods.pods[1].terminate()
        assert pods.ended(1, SOON)[0] == 0
        assert "the leader is gone" in pods.logs


def test_a_follower_without_a_leader(gang) -> None:
    with gang(only=(1,), meetSeconds=0.5) as pods:
        code, sentence = pods.ended(1, SOON)
        assert code == 5
        assert "pod 1 on node-b did not connect to the leader at 127.0.0.1 port" in sentence


def test_a_held_group_waits_until_its_release(gang, tmp_path: Path) -> None:
    holds = tmp_path / "holds.json"
    groups = {"0": {"until": None, "why": "node-b has a broken GPU"}}
    holds.write_text(json.dumps({"groups": groups}))
    with gang(only=(1,), meetSeconds=0.5, holds=str(holds)) as pods:
        client = pods.pods[1].client
        pods.pods[1].wait_for(lambda: client.get("/health/ready").json()["status"] == "held", SOON)
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["detail"] == (
            "group 0 is held until further notice: node-b has a broken GPU"
        )
        assert client.get("/health/live").status_code == 200
        holds.unlink()
        assert pods.ended(1, SOON)[0] == 5, "it looked for its leader"


@pytest.mark.parametrize(("tensor", "pods"), [(3, 2), (2, 4)])
def test_ranks_that_pods_cannot_share_are_refused(tensor: int, pods: int) -> None:
    content = {"model": {"id": "a/b"}, "tensorParallel": tensor, "gang": {"pods": pods}}
    with pytest.raises(PermanentError) as refused:
        validate(content, "config.json")
    each, left = divmod(tensor, pods)
    assert f"tensorParallel {tensor} is not divisible by gang.pods {pods}" in str(refused.value)
    assert f"({pods} x {each} + {left})" in str(refused.value)


def test_an_environment_that_contradicts_the_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LWS_GROUP_SIZE", "3")
    monkeypatch.setenv("LWS_WORKER_INDEX", "0")
    config = validate(
        {"model": {"id": "a/b"}, "tensorParallel": 2, "gang": {"pods": 2}}, "config.json"
    )
    with pytest.raises(PermanentError, match="but the environment has LWS_GROUP_SIZE"):
        process.serve(config)
