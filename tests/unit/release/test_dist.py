"""The files of a release are compared with the files in git."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hack.release import dist
from hack.release.versions import ReleaseError

TRACKED = {
    dist.PACKAGES: {"operator/deepseek_operator/a.py", "model_server/deepseek_server/b.yaml"},
    dist.SOURCES: {"operator/deepseek_operator/a.py", "README.md"},
    (dist.CHART,): {f"{dist.CHART}/Chart.yaml"},
}
WHEEL = ["deepseek_operator/a.py", "deepseek_server/b.yaml", "x.dist-info/METADATA"]
SDIST = ["x/operator/deepseek_operator/a.py", "x/README.md", *(f"x/{name}" for name in dist.ADDED)]
CHART = ["deepseek-operator/Chart.yaml"]


@pytest.fixture(autouse=True)
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake a repository with few files."""
    monkeypatch.setattr(dist, "_tracked", lambda paths: TRACKED[tuple(paths)])


def fill(folder: Path, wheel: list[str] = WHEEL, sdist: list[str] = SDIST) -> Path:
    """Write the three files of a release."""
    with zipfile.ZipFile(folder / "deepseek_operator-1.2.3-py3-none-any.whl", "w") as archive:
        for name in wheel:
            archive.writestr(name, "")
    for path, names in (
        ("deepseek_operator-1.2.3.tar.gz", sdist),
        ("deepseek-operator-1.2.3.tgz", CHART),
    ):
        with tarfile.open(folder / path, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return folder


def test_complete_files_are_accepted(tmp_path: Path) -> None:
    dist.check(fill(tmp_path), "1.2.3")


def test_a_test_in_the_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"tests/test_a\.py does not belong in it"):
        dist.check(fill(tmp_path, wheel=[*WHEEL, "tests/test_a.py"]), "1.2.3")


def test_a_source_without_the_readme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"tar\.gz:\n  README\.md is missing"):
        dist.check(fill(tmp_path, sdist=[name for name in SDIST if "README" not in name]), "1.2.3")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ReleaseError, match=r"deepseek_operator-1\.2\.4-py3-none-any\.whl was not built"
    ):
        dist.check(fill(tmp_path), "1.2.4")
