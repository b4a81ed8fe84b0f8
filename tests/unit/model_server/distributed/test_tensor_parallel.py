"""A server with two tensor parallel processes, from its start to every way of ending."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.server_process import ServerProcess
from tests.unit.model_server.models.stepping import generated, load, prompt

BODY = {"model": "llama", "ignore_eos": True}
SOON = 90.0  # seconds, on a machine that is busy


@pytest.fixture
def serve(tiny, tmp_path: Path) -> Callable[..., ServerProcess]:
    return lambda *flags: ServerProcess(tiny("llama"), tmp_path / "log", *flags)


class Stream(threading.Thread):
    """A client that reads a long answer until it ends or fails."""

    def __init__(self, server: ServerProcess, tokens: int) -> None:
        super().__init__(daemon=True)
        self._server, self._tokens = server, tokens
        self.began = threading.Event()
        self.lines: list[str] = []
        self.start()
        assert self.began.wait(60), server.log

    def run(self) -> None:
        body = {**BODY, "prompt": "a", "max_tokens": self._tokens, "stream": True}
        # A killed server truncates the stream; the test checks the lines received.
        with (
            suppress(httpx.RemoteProtocolError),
            self._server.client.stream("POST", "/v1/completions", json=body) as response,
        ):
            for line in filter(None, response.iter_lines()):
                self.lines.append(line)
                self.began.set()

    def ended(self) -> list[str]:
        """Return all lines once the stream has ended."""
        self.join(SOON)
        assert not self.is_alive(), self._server.log
        return self.lines


def test_two_processes_answer_as_one_and_drain(serve, tiny) -> None:
    with serve("--tensor-parallel", "2") as server:
        assert len(server.wait_until_ready().workers()) == 2
        prompts = [prompt(length) for length in (1, 30, 600)]
        body = {**BODY, "temperature": 0, "max_tokens": 8, "return_token_ids": True}
        answer = server.client.post("/v1/completions", json={**body, "prompt": prompts})
        model = load(tiny("llama"))
        assert [choice["token_ids"] for choice in answer.json()["choices"]] == [
            generated(model, prompt, 8) for prompt in prompts
        ]
        # Each rank uses the same grammar and random numbers; otherwise they would diverge.
        sampled = {**BODY, "prompt": "a", "guided_regex": "[a-z]{12}", "max_tokens": 24, "n": 4}
        answer = server.client.post("/v1/completions", json=sampled)
        assert all(len(choice["text"]) == 12 for choice in answer.json()["choices"])

        stream = Stream(server, 60)
        server.terminate()
        assert server.left_after(SOON) == []
        assert server.popen.returncode == 0
        assert stream.ended()[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in stream.lines[-2]
    assert "Traceback" not in server.log


def test_a_killed_rank_is_logged_and_the_server_is_not_live(serve) -> None:
    with serve("--tensor-parallel", "2") as server:
        first, second = server.wait_until_ready().workers()
        assert second.environ()["RANK"] == "1"
        stream = Stream(server, 4000)
        second.kill()
        server.wait_for(lambda: server.client.get("/health/live").status_code == 503, SOON)
        assert server.client.get("/health/live").json()["status"] == "dead"
        assert "[DONE]" not in stream.ended()[-1]
        assert '"code":"generation_failed"' in stream.lines[-1]
        refused = server.client.post("/v1/completions", json={**BODY, "prompt": "a"})
        assert refused.status_code == 503
        reports = [line for line in server.log.splitlines() if "of this model has ended" in line]
        assert len(reports) == 1, server.log
        assert "rank 1 of this model has ended, so rank 0 ends too" in reports[0]
        gone = [line for line in server.log.splitlines() if "the engine has ended" in line]
        assert len(gone) == 1, server.log
        assert not first.is_running()
        server.terminate()
        assert server.left_after(SOON) == []


@pytest.mark.parametrize(("size", "moment"), [(1, "running"), (2, "loading"), (2, "running")])
def test_a_killed_server_leaves_no_process(serve, size: int, moment: str) -> None:
    with serve("--tensor-parallel", str(size)) as server:
        if moment == "loading":
            server.wait_for(lambda: len(server.workers()) == size, SOON)
        else:
            server.wait_until_ready()
        assert len(server.processes()) == (2 if size == 1 else 4)
        if moment == "running":
            Stream(server, 4000)
        server.popen.kill()
        assert server.left_after(SOON) == [], server.log
