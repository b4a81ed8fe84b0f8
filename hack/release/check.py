"""`make release-check`: what keeps the present commit from being released."""

import subprocess
from pathlib import Path

from hack.release import changelog
from hack.release.versions import ROOT, ReleaseError, disagreements, project_version


def problems(root: Path = ROOT, tag: str | None = None) -> list[str]:
    """Return a line for each reason against a release of what lies below the root.

    Args:
        root: Of the repository.
        tag: The tag that the release gets; None: that of the version.
    """
    try:
        version = project_version(root)
    except ReleaseError as error:
        return [str(error)]
    found = disagreements(root)
    if tag not in (None, f"v{version}"):
        found.append(f"the tag is {tag}, but pyproject.toml has {version}")
    try:
        changelog.notes((root / "CHANGELOG.md").read_text(), version)
    except ReleaseError as error:
        found.append(str(error))
    return [*found, *_uncommitted(root), *_tagged(root, version)]


def _uncommitted(root: Path) -> list[str]:
    changed = _git(root, "status", "--porcelain").splitlines()
    if not changed:
        return []
    return [f"the tree has uncommitted changes: {', '.join(line[3:] for line in changed)}"]


def _tagged(root: Path, version: str) -> list[str]:
    """A tag of this version may exist only on the present commit."""
    tag = _git(root, "rev-parse", "--quiet", "--verify", f"refs/tags/v{version}^{{commit}}")
    if tag and tag != _git(root, "rev-parse", "HEAD"):
        return [f"v{version} is already released from {tag[:12]}: raise the version"]
    return []


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.rstrip()
