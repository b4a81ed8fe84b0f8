"""`python -m hack.release check|set|notes|dist`; the make targets call it, see RELEASE.md."""

import argparse
import sys
from datetime import UTC, datetime

from hack.cluster.faults import ClusterError
from hack.release import changelog
from hack.release.check import problems
from hack.release.dist import build
from hack.release.versions import ROOT, ReleaseError, project_version, set_version

CHANGELOG = ROOT / "CHANGELOG.md"


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 when a release is refused or can't be made.
    """
    options = _parse(arguments)
    try:
        match options.command:
            case "check":
                return _check(options.tag)
            case "set":
                _set(options.version)
            case "notes":
                print(changelog.notes(CHANGELOG.read_text(), project_version()))
            case "dist":
                for path in build():
                    print(path.relative_to(ROOT))
    except (ReleaseError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hack.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="list what keeps this commit from being released")
    check.add_argument("--tag", help="the tag that the release gets (default: that of the version)")
    change = commands.add_parser("set", help="write a version everywhere, and to the changelog")
    change.add_argument("version")
    commands.add_parser("notes", help="print what the changelog says about this version")
    commands.add_parser("dist", help="make wheel, sdist and chart with checksums in dist/")
    return parser.parse_args(arguments)


def _check(tag: str | None) -> int:
    found = problems(tag=tag)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{project_version()} can be released")
    return 1 if found else 0


def _set(version: str) -> None:
    set_version(version)
    text = CHANGELOG.read_text()
    if not changelog.has(text, version):
        CHANGELOG.write_text(changelog.release(text, version, datetime.now(UTC).date()))


if __name__ == "__main__":
    sys.exit(main())
