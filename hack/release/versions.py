"""The version of the project: written in pyproject.toml, repeated where a file has to name it."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The part of PEP 440 that is a semantic version as well: Helm takes no other.
VERSION = r"\d+\.\d+\.\d+"


class ReleaseError(Exception):
    """A release can't be made; the message says what to do."""


@dataclass(frozen=True)
class Place:
    """Where a file repeats the version.

    Attributes:
        files: A glob pattern below the root.
        before: Regular expression of what stands before the version.
    """

    files: str
    before: str

    def find(self, root: Path) -> Iterator[tuple[Path, int, str]]:
        """Yield file, line number and version of each occurrence."""
        for path in sorted(root.glob(self.files)):
            text = path.read_text()
            for match in self._matches(text):
                yield path, text.count("\n", 0, match.start("version")) + 1, match["version"]

    def write(self, root: Path, version: str) -> None:
        """Put another version in each occurrence."""
        for path in sorted(root.glob(self.files)):
            text = path.read_text()
            changed = self._pattern.sub(lambda match: match["before"] + version, text)
            if changed != text:
                path.write_text(changed)

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(f"(?P<before>{self.before})(?P<version>{VERSION})", re.MULTILINE)

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        return self._pattern.finditer(text)


PYPROJECT = Place("pyproject.toml", r'^version = "')
# Images have no place of their own: the chart's appVersion is their tag.
PLACES = (
    Place("charts/deepseek-operator/Chart.yaml", r"^version: "),
    Place("charts/deepseek-operator/Chart.yaml", r'^appVersion: "'),
    Place("operator/deepseek_operator/cli/installation.py", r'^TAG = "'),
    Place("docs/install.md", r"/deepseek-(?:operator|server):"),
    Place("docs/install.md", r"\btag: "),
    Place("docs/cli.md", r"`deepseek-server:"),
    Place("tests/integration/chart/test_rendering.py", r'"registry\.test/deepseek-\w+:'),
    Place("tests/unit/operator/cli/golden/*.json", r'"deepseek-server:'),
)


def project_version(root: Path = ROOT) -> str:
    """Return the version in pyproject.toml.

    Raises:
        ReleaseError: It is not of the form 1.2.3.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return well_formed(str(project["version"]))


def well_formed(version: str) -> str:
    """Return the version if it has the form 1.2.3.

    Raises:
        ReleaseError: It has not.
    """
    if not re.fullmatch(VERSION, version):
        raise ReleaseError(
            f"version {version!r} is not of the form 1.2.3, which Python packages and Helm charts share"
        )
    return version


def disagreements(root: Path = ROOT) -> list[str]:
    """Return a line for each place whose version is not the one in pyproject.toml."""
    version = project_version(root)
    lines = []
    for place in PLACES:
        found = list(place.find(root))
        if not found:
            lines.append(
                f"{place.files}: no version after {place.before!r}; correct PLACES in "
                "hack/release/versions.py if the text has moved"
            )
        lines += [
            f"{path.relative_to(root)}:{line}: {other}, but pyproject.toml has {version}"
            for path, line, other in found
            if other != version
        ]
    return lines


def set_version(version: str, root: Path = ROOT) -> None:
    """Write the version to pyproject.toml and to all places that repeat it.

    Raises:
        ReleaseError: It is not of the form 1.2.3.
    """
    well_formed(version)
    for place in (PYPROJECT, *PLACES):
        place.write(root, version)
