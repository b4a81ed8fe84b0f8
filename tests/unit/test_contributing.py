"""Names in the pages for contributors exist: paths, make targets, workflows, hooks."""

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
import yaml

from hack.cluster.toolchain import groups
from tests.support.repository import ROOT

PAGES = ["CONTRIBUTING.md", "RELEASE.md", "SECURITY.md", *sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs/decisions").glob("*.md")
)]  # fmt: skip
# Paths may leave out the folder of the package that they are about.
ROOTS = (ROOT, ROOT / "operator/deepseek_operator", ROOT / "model_server/deepseek_server")
# A path between backticks: with a slash, and a file's suffix or a slash at its end.
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|md|ya?ml|json|lua|lock|mod|j2))?)`")
# Written by others, or made by a build.
ABSENT = {"dist/", "site/", "docs/scope.md", "docs/glossary.md"}
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def workflow(name: str) -> dict[str, Any]:
    """A workflow's jobs."""
    jobs: dict[str, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())[
        "jobs"
    ]
    return jobs


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_paths_of_a_page_exist(page: str) -> None:
    named = set(PATH.findall((ROOT / page).read_text())) - ABSENT
    missing = [path for path in named if not any((root / path).exists() for root in ROOTS)]
    assert missing == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "RELEASE.md", "docs/cluster.md", "README.md"])
def test_make_targets_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    quoted = re.findall(r"(?:`|^)make ([a-z][a-z0-9-]+)", text, re.MULTILINE)
    assert quoted
    assert set(quoted) <= targets()


def commands(jobs: dict[str, Any]) -> Iterator[str]:
    """All commands that a workflow runs."""
    for job in jobs.values():
        yield from (step["run"] for step in job["steps"] if "run" in step)


def test_workflows_call_make_targets_that_exist() -> None:
    jobs = [workflow(path.stem) for path in WORKFLOWS]
    lines = "\n".join(chain.from_iterable(map(commands, jobs)))
    called = re.findall(r"^make ([a-z-]+)", lines, re.MULTILINE)
    suites = workflow("ci")["cluster"]["strategy"]["matrix"]["suite"]
    assert {"lint", "test-unit", "dist"} <= set(called)
    assert {*called, *suites} <= targets()


def test_unit_tests_run_on_every_python_that_is_supported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least, beyond = map(int, re.findall(r"3\.(\d+)", project["requires-python"]))
    matrix = workflow("ci")["unit"]["strategy"]["matrix"]["python"]
    assert matrix == [f"3.{minor}" for minor in range(least, beyond)]


def test_clusters_run_the_kubernetes_that_is_built() -> None:
    version = groups()["kubernetes"].stamp["k8s.io/component-base/version.gitVersion"]
    matrix = workflow("ci")["cluster"]["strategy"]["matrix"]["kubernetes"]
    assert matrix == [version.removeprefix("v").rpartition(".")[0]]


def test_hooks_download_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert set(re.findall(r"\.venv/bin/(\w+)", hook["entry"])) <= {"ruff", "mypy", "python"}
