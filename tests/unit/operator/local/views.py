"""Statuses of resources for tests."""

from typing import Any

from deepseek_operator.local.view import ReplicaView, View


def view(*replicas: ReplicaView, **fields: Any) -> View:
    return View(
        **{
            "name": "r1",
            "run": "run",
            "pid": 1,
            "process_started": 0.0,
            "since": "2026-01-01T00:00:00Z",
            "endpoint": "http://127.0.0.1:8000",
            "model": "tiny",
            "served_name": "tiny",
            "runs_on": "CPU",
            "replicas": replicas,
            **fields,
        }
    )
