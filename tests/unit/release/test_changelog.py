"""The changelog: what belongs to a version, and Unreleased becoming one."""

from datetime import date

import pytest

from hack.release.changelog import notes, release
from hack.release.versions import ROOT, ReleaseError

TEXT = """# Changelog

## [Unreleased]

### Added

- A new thing.

## [0.2.0] - 2026-01-02

### Fixed

- A broken thing.

## [0.1.0] - 2025-12-31

- First.
"""


def test_notes_end_at_the_next_version() -> None:
    assert notes(TEXT, "0.2.0") == "### Fixed\n\n- A broken thing."
    assert notes(TEXT, "0.1.0") == "- First."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT, "no section for 0.3.0"),
        ("## [0.3.0]\n\n- Entry.\n", "write the date"),
        ("## [0.3.0] - 2026-01-02\n\n## [0.2.0] - 2026-01-01\n\n- Entry.\n", "is empty"),
    ],
    ids=["missing", "without a date", "empty"],
)
def test_a_version_without_notes_is_refused(text: str, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        notes(text, "0.3.0")


def test_unreleased_entries_become_a_version() -> None:
    text = release(TEXT, "0.3.0", date(2026, 2, 1))
    assert notes(text, "0.3.0") == notes(TEXT, "Unreleased")
    assert "## [Unreleased]\n\n## [0.3.0] - 2026-02-01\n" in text
    with pytest.raises(ReleaseError, match="Unreleased is empty"):
        release(text, "0.4.0", date(2026, 3, 1))


def test_the_changelog_of_this_tree_can_be_read() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    assert "## [Unreleased]\n" in text
