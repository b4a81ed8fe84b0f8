"""Extraction of the flags of `python -m sglang.launch_server` from a release's source."""

import ast
from collections.abc import Iterator

from hack.engines.source import Flag, Wheel, calls, keys, keyword, strings

SERVER = "sglang/srt/server_args.py"
FIELDS = "sglang/srt/arg_groups/fields/"
CHOICES = "sglang/srt/arg_groups/choices.py"
# Parsers that are registered by name, and the places of their registration.
REGISTERED = {
    "--tool-call-parser": (
        "sglang/srt/function_call/function_call_parser.py",
        "ToolCallParserEnum",
    ),
    "--reasoning-parser": ("sglang/srt/parser/reasoning_parser.py", "DetectorMap"),
}


def flags(wheel: Wheel) -> Iterator[Flag]:
    """Return all flags."""
    for name in wheel.files:
        if name.startswith(FIELDS):
            yield from _of_fields(wheel, wheel.tree(name))
    for call in calls(wheel.tree(SERVER), "add_argument"):
        (name, *_) = strings(call.args[0])
        if registered := REGISTERED.get(name):
            place, variable = registered
            yield Flag((name,), "one", ("auto", *keys(wheel.tree(place), variable)))
        else:
            action = keyword(call, "action")
            plain = action is not None and "StoreTrue" in ast.unparse(action).replace(
                "store_true", "StoreTrue"
            )
            yield Flag((name,), "none" if plain else "one")


def _of_fields(wheel: Wheel, tree: ast.AST) -> Iterator[Flag]:
    """Return the flags of fields such as `name: A[type, "help" or Arg(...)]`."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.annotation, ast.Subscript)
            and ast.unparse(node.annotation.value) == "A"
            and isinstance(node.annotation.slice, ast.Tuple)
        ):
            continue
        kind, about = node.annotation.slice.elts[:2]
        call = about if isinstance(about, ast.Call) else ast.Call(about, [], [])
        if "True" in ast.unparse(keyword(call, "no_cli") or ast.Constant(False)):
            continue
        usual = strings(keyword(call, "cli_name")) or (f"--{node.target.id.replace('_', '-')}",)
        names = (*usual, *strings(keyword(call, "aliases")))
        yield Flag(names, _takes(kind, call), _choices(wheel, kind, call))


def _takes(kind: ast.expr, call: ast.Call) -> str:
    if keyword(call, "action") is not None or keyword(call, "nargs") is not None:
        return "any"
    text = ast.unparse(kind)
    if text == "bool":
        return "none"
    return "many" if "List[" in text and keyword(call, "type_parser") is None else "one"


def _choices(wheel: Wheel, kind: ast.expr, call: ast.Call) -> tuple[str, ...]:
    given = keyword(call, "choices")
    if isinstance(given, ast.Name):
        return wheel.literal(CHOICES, given.id)
    if given is not None:
        return strings(given)
    return strings(kind) if "Literal[" in ast.unparse(kind) else ()
