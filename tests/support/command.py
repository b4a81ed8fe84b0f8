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
    def data(self) -> Any:
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


def kubeconfig_of(admin: Path, path: Path, token: str, server: str = "") -> Path:
    """Write a kubeconfig like the administrator's, with a token and perhaps another server."""
    admin_config: Object = copy.deepcopy(yaml.safe_load(admin.read_text()))
    admin_config["users"][0]["user"] = {"token": token}
    if server:
        admin_config["clusters"][0]["cluster"]["server"] = server
    path.write_text(yaml.safe_dump(admin_config))
    return path
