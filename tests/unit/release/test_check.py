"""`make release-check` accepts a clean, consistent commit and refuses any other."""

import subprocess
from pathlib import Path

import pytest

from hack.release import check, versions
from hack.release.versions import Place

CHANGELOG = "# Changelog\n\n## [1.2.3] - 2026-01-02\n\n- Something.\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed repository, ready for its release 1.2.3."""
    monkeypatch.setattr(versions, "PLACES", (Place("Chart.yaml", "^version: "),))
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "Chart.yaml").write_text("version: 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    """Run git under a name of its own, without the machine's settings."""
    who = (
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.com",
        "-c",
        "commit.gpgSign=false",
    )
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Change")


def test_a_clean_and_consistent_commit_is_accepted(repository: Path) -> None:
    assert check.problems(repository) == []
    git(repository, "tag", "v1.2.3")
    assert check.problems(repository) == []


def test_another_version_in_the_chart_is_refused(repository: Path) -> None:
    (repository / "Chart.yaml").write_text("version: 1.2.2\n")
    commit(repository)
    assert check.problems(repository) == ["Chart.yaml:1: 1.2.2, but pyproject.toml has 1.2.3"]


def test_a_version_that_the_changelog_lacks_is_refused(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- Something.\n")
    commit(repository)
    (line,) = check.problems(repository)
    assert "no section for 1.2.3" in line


@pytest.mark.parametrize("name", ["Chart.yaml", "new.txt"])
def test_an_uncommitted_change_is_refused(repository: Path, name: str) -> None:
    with (repository / name).open("a") as file:
        file.write("# changed\n")
    assert check.problems(repository) == [f"the tree has uncommitted changes: {name}"]


def test_a_version_that_another_commit_has_is_refused(repository: Path) -> None:
    git(repository, "tag", "--annotate", "--message", "1.2.3", "v1.2.3")
    assert check.problems(repository) == []
    (repository / "new.txt").touch()
    commit(repository)
    (line,) = check.problems(repository)
    assert line.startswith("v1.2.3 is already released from ")


def test_a_tag_of_another_version_is_refused(repository: Path) -> None:
    assert check.problems(repository, "v1.2.3") == []
    (line,) = check.problems(repository, "v1.2.4")
    assert line == "the tag is v1.2.4, but pyproject.toml has 1.2.3"


def test_a_version_of_another_form_is_refused(repository: Path) -> None:
    (repository / "pyproject.toml").write_text('[project]\nversion = "1.2.3rc1"\n')
    (line,) = check.problems(repository)
    assert "is not of the form 1.2.3" in line
