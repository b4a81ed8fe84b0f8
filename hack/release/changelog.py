"""CHANGELOG.md in the form of Keep a Changelog: sections by version, the newest first."""

import re
from datetime import date

from hack.release.versions import VERSION, ReleaseError

HEADING = re.compile(
    rf"^## \[(?P<name>Unreleased|{VERSION})\](?: - (?P<day>\d{{4}}-\d{{2}}-\d{{2}}))?[ \t]*$",
    re.MULTILINE,
)
UNRELEASED = "Unreleased"


def notes(text: str, version: str) -> str:
    """Return what the changelog says about a version.

    Raises:
        ReleaseError: It has no section for it, or the section is empty or has no date.
    """
    found = [match for match in HEADING.finditer(text) if match["name"] == version]
    if not found:
        raise ReleaseError(
            f"CHANGELOG.md has no section for {version}: run make release-version VERSION={version}"
        )
    if version != UNRELEASED and found[0]["day"] is None:
        raise ReleaseError(f"CHANGELOG.md: write the date, ## [{version}] - YYYY-MM-DD")
    following = re.search(r"^## ", text[found[0].end() :], re.MULTILINE)
    end = found[0].end() + following.start() if following else len(text)
    section = text[found[0].end() : end].strip()
    if not section:
        raise ReleaseError(f"CHANGELOG.md: the section {version} is empty")
    return section


def has(text: str, version: str) -> bool:
    """Return whether the changelog has a section for a version."""
    return any(match["name"] == version for match in HEADING.finditer(text))


def release(text: str, version: str, day: date) -> str:
    """Return the text with the entries of Unreleased under a version.

    Raises:
        ReleaseError: There is no Unreleased section, or nothing in it.
    """
    notes(text, UNRELEASED)
    return re.sub(
        rf"^## \[{UNRELEASED}\][ \t]*$",
        f"## [{UNRELEASED}]\n\n## [{version}] - {day:%Y-%m-%d}",
        text,
        count=1,
        flags=re.MULTILINE,
    )
