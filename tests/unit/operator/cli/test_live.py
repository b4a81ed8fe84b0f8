"""How a question to a cluster fails, for its asker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_operator.cli.errors import UNANSWERED, UNUSABLE
from deepseek_operator.cli.live.ask import told
from deepseek_operator.cluster.errors import (
    ApiError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UnauthorizedError("Unauthorized"), UNANSWERED, "log in again"),
        (ForbiddenError('cannot list resource "nodes"'), UNANSWERED, "Ask for that right"),
        (NotFoundError("the server could not find it"), UNANSWERED, "kubectl apply -f crds/"),
        (NotFoundError('namespaces "a" not found'), UNUSABLE, "kubectl create namespace"),
        (RejectedError("spec.replicas: Invalid value"), UNUSABLE, "refuses it: spec.replicas"),
        (UnreachableError("The API server can't be reached: x"), UNANSWERED, "cluster-info"),
    ],
)
def test_it_is_told_with_what_to_do(error: ApiError, code: int, words: str) -> None:
    said = told(error)
    assert (said.code, words in str(said)) == (code, True)


def test_a_busy_server_was_reached() -> None:
    assert str(told(UnreachableError("too many requests"))) == "too many requests."


def test_without_a_kubeconfig_there_is_one_sentence(tmp_path: Path) -> None:
    """As a process of its own: what is logged goes past what tests redirect."""
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    command = [sys.executable, "-m", "deepseek_operator.cli", "status"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: The kubeconfig")
