"""The command-line flags of other engines, extracted from their releases and stored as data.

`vllm.json` and `sglang.json` list every flag of the release that the catalogue names. To refresh one
after a change of `release` in operator/deepseek_operator/catalog/engines.yaml:

    pip download --no-deps --only-binary :all: --dest wheels vllm==RELEASE
    python -m hack.engines vllm wheels/vllm-RELEASE-*.whl

Nothing is installed or run: the wheel's .py files are parsed.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def file_of(engine: str) -> Path:
    """Return the file with the flags of an engine."""
    return HERE / f"{engine}.json"


def read(engine: str) -> dict[str, Any]:
    """Return the flags of an engine, with release and source."""
    content: dict[str, Any] = json.loads(file_of(engine).read_text(encoding="utf-8"))
    return content
