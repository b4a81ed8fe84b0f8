"""The command `deepseek` as a process, run with a kubeconfig."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def parsed(self) -> Any:
        """Its output, parsed as JSON."""
        assert self.out, self.err
        return json.loads(self.out)


def deepseek(kubeconfig: Path, *arguments: object) -> Result:
    """Run the command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "deepseek_operator.cli", *map(str, arguments)],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def write_kubeconfig(admin: Path, path: Path, token: str, server: str = "") -> Path:
    """Write a kubeconfig like the administrator's with this token; `server` replaces the URL if set."""
    config: Object = copy.deepcopy(yaml.safe_load(admin.read_text()))
    config["users"][0]["user"] = {"token": token}
    if server:
        config["clusters"][0]["cluster"]["server"] = server
    path.write_text(yaml.safe_dump(config))
    return path
