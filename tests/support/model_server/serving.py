"""Tiny models, loaded once per session, behind real HTTP servers on loopback ports."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

import httpx
import pytest
import uvicorn

from deepseek_server.config import Config, validate
from deepseek_server.errors import PermanentError, StartError
from deepseek_server.metrics import Metrics
from deepseek_server.server.app import create_app
from deepseek_server.server.lifecycle import Lifecycle, Progress
from deepseek_server.server.served_model import ServedModel
from deepseek_server.server.startup import start
from deepseek_server.worker.main import work
from hack.models.tiny import make_tiny


@dataclass
class RunningServer:
    """An application served by uvicorn in a thread."""

    url: str
    lifecycle: Lifecycle
    metrics: Metrics
    client: httpx.Client

    @property
    def served(self) -> ServedModel:
        assert self.lifecycle.served is not None
        return self.lifecycle.served


class ThreadWorker:
    """An engine in a thread, which starts quickly because torch is already imported."""

    def __init__(self, config: Config) -> None:
        self.connection, there = Pipe()
        thread = threading.Thread(target=work, args=(config.device, there), daemon=True)
        thread.start()

    def why_ended(self) -> str:
        return "the thread has ended"

    def failure(self) -> StartError:
        return PermanentError(self.why_ended())

    def finish(self) -> None:
        pass

    def end(self) -> None:
        self.connection.close()


def directory_config(directory: Path, **model: object) -> Config:
    content = {
        "model": {"id": directory.name, "source": {"path": str(directory)}, **model},
        "listen": {"host": "127.0.0.1", "port": 0},
    }
    return validate(content, "the test's configuration")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("tiny")

    def directory(family: str) -> Path:
        path = root / family
        return path if path.exists() else make_tiny(family, path)

    return directory


@pytest.fixture(scope="session")
def run_app() -> Iterator[Callable[[Lifecycle], RunningServer]]:
    """Serve an application for the rest of the session."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def run(lifecycle: Lifecycle) -> RunningServer:
        metrics = Metrics(lifecycle.config.name)
        if lifecycle.served is not None:
            metrics.watch(lifecycle.served.engine)
        opened = socket.create_server(("127.0.0.1", 0))
        app = create_app(lifecycle, metrics)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        client = httpx.Client(base_url=url, timeout=60)
        running.append((server, thread, client))
        return RunningServer(url, lifecycle, metrics, client)

    yield run
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def serve_anew(
    tiny: Callable[[str], Path], run_app: Callable[[Lifecycle], RunningServer]
) -> Callable[[str], RunningServer]:
    """A separate server for tests that break it."""

    def serve(family: str) -> RunningServer:
        config = directory_config(tiny(family))
        lifecycle = Lifecycle(config.model)
        lifecycle.ready(start(config, Progress(), ThreadWorker))
        return run_app(lifecycle)

    return serve


@pytest.fixture(scope="session")
def serve_family(serve_anew: Callable[[str], RunningServer]) -> Callable[[str], RunningServer]:
    servers: dict[str, RunningServer] = {}

    def serve(family: str) -> RunningServer:
        if family not in servers:
            servers[family] = serve_anew(family)
        return servers[family]

    return serve


@pytest.fixture(scope="session")
def server(serve_family: Callable[[str], RunningServer]) -> RunningServer:
    """A server of the fastest tiny model, for tests that do not depend on the family."""
    return serve_family("llama")


@pytest.fixture
def client(server: RunningServer) -> httpx.Client:
    return server.client
