"""Start of the command."""

import subprocess
import sys
import tomllib

import pytest

from deepseek_operator.cli.start import main
from tests.support.repository import ROOT


def test_the_command_and_the_kubectl_plugin_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["deepseek"] == scripts["kubectl-deepseek"] == f"{main.__module__}:main"


def test_the_module_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "deepseek_operator.cli", "render", "nowhere.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "Error: nowhere.yaml can't be read: No such file or directory.\n"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("deepseek_operator.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"typer is missing.*pip install '\.\[cli\]'"):
        main()
