"""Error messages of failed queries to a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_operator.cli.errors import UNANSWERED, UNUSABLE
from deepseek_operator.cli.live.ask import command_error
from deepseek_operator.cluster.errors import (
    ApiError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnauthorizedError("Unauthorized"), UNANSWERED, "log in again"),
        (ForbiddenError('cannot list resource "nodes"'), UNANSWERED, "Ask for that permission"),
        (NotFoundError("the server could not find it"), UNANSWERED, "kubectl apply -f crds/"),
        (NotFoundError('namespaces "a" not found'), UNUSABLE, "kubectl create namespace"),
        (
            RejectedError("spec.replicas: Invalid value"),
            UNUSABLE,
            "rejects the request: spec.replicas",
        ),
        (UnreachableError("The API server can't be reached: x"), UNANSWERED, "cluster-info"),
    ],
)
def test_an_api_error_is_reported_with_a_next_step(
    error: ApiError, code: int, message: str
) -> None:
    failure = command_error(error)
    assert (failure.code, message in str(failure)) == (code, True)


def test_a_busy_server_does_not_count_as_unreachable() -> None:
    assert str(command_error(UnreachableError("too many requests"))) == "too many requests."


def test_a_missing_kubeconfig_is_reported_in_one_message(tmp_path: Path) -> None:
    """Runs in a separate process, because log output bypasses the redirection of tests."""
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    command = [sys.executable, "-m", "deepseek_operator.cli", "status"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: The kubeconfig")
