"""Regenerate the golden files: python -m tests.unit.operator.golden; `git diff` shows the changes."""

from tests.unit.operator.golden import EXAMPLES, golden_file, rendered


def main() -> None:
    """Render every example."""
    for example in EXAMPLES:
        golden_file(example).write_text(rendered(example), encoding="utf-8")


if __name__ == "__main__":
    main()
