"""`make dist`: wheel, sdist and chart with their checksums in dist/, each held to what belongs in it."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from hack.cluster.tools import tool
from hack.release.versions import ROOT, ReleaseError, project_version

DIST = ROOT / "dist"
CHART = "charts/deepseek-operator"
PACKAGES = ("operator/deepseek_operator", "model_server/deepseek_server")
SOURCES = ("operator", "model_server", "crds", "CHANGELOG.md", "LICENSE", "README.md")
# What the build backend adds to a source distribution.
ADDED = {"PKG-INFO", "pyproject.toml", ".gitignore"}


def build(folder: Path = DIST) -> list[Path]:
    """Make everything that a release publishes, images apart.

    Returns:
        The files.

    Raises:
        ReleaseError: A build failed, or a file has too much or too little in it.
    """
    version = project_version()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # hatchling comes from tests/requirements.lock, not from whatever the index has today.
    uv = str(Path(sys.executable).parent / "uv")
    _run(uv, "build", "--quiet", "--no-build-isolation", "--out-dir", str(folder), str(ROOT))
    (folder / ".gitignore").unlink(missing_ok=True)
    helm = str(tool("helm"))
    _run(
        helm, "lint", "--quiet", CHART, "--set", "image.repository=x,modelServer.image.repository=x"
    )
    _run(helm, "package", CHART, "--destination", str(folder))
    check(folder, version)
    sums = folder / "SHA256SUMS"
    files = sorted(folder.iterdir())
    sums.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in files))
    return [*files, sums]


def check(folder: Path, version: str) -> None:
    """Compare the content of the three files with what git has.

    Raises:
        ReleaseError: A file is missing, or has too much or too little in it.
    """
    wheel = folder / f"deepseek_operator-{version}-py3-none-any.whl"
    sdist = folder / f"deepseek_operator-{version}.tar.gz"
    chart = folder / f"deepseek-operator-{version}.tgz"
    for path in (wheel, sdist, chart):
        if not path.exists():
            raise ReleaseError(f"{path.name} was not built; dist/ has {sorted(folder.iterdir())}")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    _compare(wheel, names, {path.partition("/")[2] for path in _tracked(PACKAGES)})
    _compare(sdist, _members(sdist), {*_tracked(SOURCES), *ADDED})
    _compare(chart, {f"{CHART}/{name}" for name in _members(chart)}, _tracked([CHART]))


def _members(path: Path) -> set[str]:
    """Names of a tar file's files below its one folder."""
    with tarfile.open(path) as archive:
        return {item.name.partition("/")[2] for item in archive.getmembers() if item.isfile()}


def _tracked(paths: Iterable[str]) -> set[str]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--", *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.split("\0")) - {""}


def _compare(path: Path, found: set[str], expected: set[str]) -> None:
    lines = [
        *(f"{name} does not belong in it" for name in sorted(found - expected)),
        *(f"{name} is missing" for name in sorted(expected - found)),
    ]
    if lines:
        raise ReleaseError("\n  ".join([f"{path.name}:", *lines]))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
