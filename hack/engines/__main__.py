"""Write the flags of a release: python -m hack.engines vllm WHEEL; `git diff` shows what changed."""

import argparse
import datetime
import json
from pathlib import Path

from hack.engines import file_of, sglang_flags, vllm_flags
from hack.engines.source import Flag, Wheel

READERS = {"vllm": vllm_flags.flags, "sglang": sglang_flags.flags}


def main() -> None:
    """Read a wheel and write the flags of its command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=READERS)
    parser.add_argument("wheel", type=Path)
    given = parser.parse_args()
    wheel = Wheel(given.wheel)
    found = {flag.names[0]: flag for flag in READERS[given.engine](wheel)}
    head = {
        "engine": given.engine,
        "release": wheel.release,
        "source": f"PyPI, {given.wheel.name}",
        "read": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    lines = [f"{json.dumps(name)}: {_text(found[name])}" for name in sorted(found)]
    text = json.dumps(head)[:-1] + ',\n"flags": {\n' + ",\n".join(lines) + "\n}}\n"
    file_of(given.engine).write_text(text, encoding="utf-8")
    print(f"{file_of(given.engine)}: {len(lines)} flags of {given.engine} {wheel.release}")


def _text(flag: Flag) -> str:
    content = {"aliases": flag.names[1:], "takes": flag.takes, "choices": flag.choices}
    return json.dumps({key: value for key, value in content.items() if value})


if __name__ == "__main__":
    main()
