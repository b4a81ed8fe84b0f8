"""One version: all places of this tree agree, and one that does not is found."""

import shutil
from pathlib import Path

import pytest

from hack.release.versions import (
    PLACES,
    ROOT,
    ReleaseError,
    disagreements,
    project_version,
    set_version,
    well_formed,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that name the version."""
    for pattern in {"pyproject.toml", *(place.files for place in PLACES)}:
        for path in ROOT.glob(pattern):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return tmp_path


def test_all_places_of_this_tree_agree() -> None:
    assert disagreements() == []


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.files} {place.before}")
def test_another_version_in_one_place_is_refused(tree: Path, place) -> None:
    path, line, version = next(place.find(tree))
    place.write(tree, "9.8.7")
    assert (
        f"{path.relative_to(tree)}:{line}: 9.8.7, but pyproject.toml has {version}"
        in disagreements(tree)
    )


def test_a_place_that_has_moved_is_refused(tree: Path) -> None:
    chart = tree / "charts/deepseek-operator/Chart.yaml"
    chart.write_text(chart.read_text().replace("appVersion:", "applicationVersion:"))
    (line,) = disagreements(tree)
    assert line.startswith("charts/deepseek-operator/Chart.yaml: no version after")
    assert "PLACES" in line


def test_a_new_version_is_written_to_all_places(tree: Path) -> None:
    set_version("1.20.3", tree)
    assert project_version(tree) == "1.20.3"
    assert disagreements(tree) == []
    assert {version for place in PLACES for _, _, version in place.find(tree)} == {"1.20.3"}


def test_only_the_version_of_the_project_is_written(tree: Path) -> None:
    before = (tree / "pyproject.toml").read_text()
    set_version("1.20.3", tree)
    version = project_version()
    changed = before.replace(f'\nversion = "{version}"', '\nversion = "1.20.3"')
    assert (tree / "pyproject.toml").read_text() == changed


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3rc1", "1.2.3-rc.1", "1.2.3\n", ""])
def test_a_version_of_another_form_is_refused(version: str) -> None:
    with pytest.raises(ReleaseError, match=r"form 1\.2\.3"):
        well_formed(version)
