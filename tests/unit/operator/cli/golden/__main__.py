"""Regenerate the golden files: python -m tests.unit.operator.cli.golden; review with `git diff`."""

from tests.unit.operator.cli.golden import files

if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
