"""Command-line parsers of released engines."""

from typing import Any

from hack.engines import read


class Parser:
    """Parser of a release, from hack/engines/*.json; raises AssertionError for unknown arguments."""

    def __init__(self, engine: str):
        content = read(engine)
        self.release: str = content["release"]
        self._flags: dict[str, dict[str, Any]] = {}
        for name, flag in content["flags"].items():
            self._flags |= dict.fromkeys((name, *flag.get("aliases", [])), flag)

    @property
    def names(self) -> set[str]:
        """All spellings of all flags."""
        return set(self._flags)

    def parse(self, args: tuple[str, ...]) -> dict[str, str]:
        """Return values by flag; a positional argument before the first flag has the empty name."""
        found: dict[str, str] = {}
        rest = list(args)
        if not rest[0].startswith("-"):
            found[""] = rest.pop(0)
        while rest:
            name = rest.pop(0)
            assert name in self._flags, f"{name} is no flag of {self.release}"
            assert name not in found, f"{name} is there twice"
            flag = self._flags[name]
            if flag["takes"] == "none":
                found[name] = ""
                continue
            found[name] = rest.pop(0)
            choices = flag.get("choices", [])
            assert not choices or found[name] in choices, f"{name} does not take {found[name]}"
        return found
