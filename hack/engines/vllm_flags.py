"""Extraction of the flags of `vllm serve` from a release's source."""

import ast
from collections.abc import Iterator

from hack.engines.source import Flag, Wheel, annotations, calls, keys, keyword, strings

ENGINE = "vllm/engine/arg_utils.py"
CONFIG = "vllm/config/"
# Parsers that are registered by name, and the places of their registration.
REGISTERED = {
    "--tool-call-parser": ("vllm/tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER"),
    "--reasoning-parser": ("vllm/reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER"),
}


def flags(wheel: Wheel) -> Iterator[Flag]:
    """Return all flags."""
    (front,) = (
        name
        for name in wheel.files
        if name.endswith("/cli_args.py") and "class FrontendArgs" in ast.unparse(wheel.tree(name))
    )
    for tree in (wheel.tree(ENGINE), wheel.tree(front)):
        classes = _classes(tree)
        for call in calls(tree, "add_argument"):
            if names := _names(call):
                yield _named(wheel, names, _of_call(wheel, call, classes))
    for class_name in ("BaseFrontendArgs", "FrontendArgs"):
        for name, annotation in annotations(wheel.tree(front), class_name):
            dashed = f"--{name.replace('_', '-')}"
            yield _named(wheel, (dashed,), _of_annotation(wheel, annotation))


def _named(wheel: Wheel, names: tuple[str, ...], rest: tuple[str, tuple[str, ...]]) -> Flag:
    takes, choices = rest
    if registered := REGISTERED.get(names[0]):
        place, name = registered
        takes, choices = "one", keys(wheel.tree(place), name)
    return Flag(names, takes, choices)


def _names(call: ast.Call) -> tuple[str, ...]:
    found = (
        item.value
        for item in call.args
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    )
    return tuple(sorted((name for name in found if name.startswith("-")), key=len, reverse=True))


def _classes(tree: ast.AST) -> dict[str, str]:
    """Return the class of each `x_kwargs = get_kwargs(Class)`, by the variable's name."""
    return {
        node.targets[0].id: node.value.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "get_kwargs"
        and isinstance(node.value.args[0], ast.Name)
    }


def _of_call(wheel: Wheel, call: ast.Call, classes: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    action = keyword(call, "action")
    if action is not None:
        plain = {"store_true", "store_false", "BooleanOptionalAction"}
        words = ast.unparse(action).strip("'").rpartition(".")[2]
        return ("none" if words in plain else "one"), ()
    for item in call.keywords:
        node = item.value
        if (
            item.arg is None
            and isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
        ):
            class_name = classes.get(node.value.id)
            (field,) = strings(node.slice)
            if class_name:
                fields = wheel.fields(CONFIG, class_name)
                if field in fields:
                    return _of_annotation(wheel, fields[field])
            return "any", ()
    if any(item.arg is None for item in call.keywords):
        return "any", ()
    return "one", strings(keyword(call, "choices"))


def _of_annotation(wheel: Wheel, annotation: ast.expr) -> tuple[str, tuple[str, ...]]:
    text = ast.unparse(annotation)
    parts = dict.fromkeys(part.strip() for part in text.split("|"))
    if parts.keys() <= {"bool", "None"}:
        return "none", ()
    if "bool" in parts or text.startswith(("dict", "Any")):
        return "any", ()
    if "list[" in text or "tuple[" in text or "set[" in text:
        return "many", ()
    if "str" in parts:
        return "one", ()
    if "Literal[" in text:
        return "one", strings(annotation)
    names = [part for part in parts if part != "None" and part.isidentifier() and part[0].isupper()]
    return "one", wheel.literal(CONFIG, names[0]) if names else ()
