"""The table of results, and the rows below their floors."""

from __future__ import annotations

from typing import Any

Found = dict[str, dict[str, Any]]

# Title, row and field in the result, floor, and aim.
GOALS: tuple[tuple[str, str, str, float, float], ...] = (
    ("apply to all children, p50 (ms)", "apply", "p50 ms", 250, 100),
    ("apply to all children, p99 (ms)", "apply", "p99 ms", 600, 300),
    ("resources at once: time, bare client = 1", "burst", "ratio", 2.0, 1.3),
    ("steady state: writes", "steady", "writes", 0, 0),
    ("steady state: CPU (% of a core)", "steady", "cpu percent of a core", 5, 1),
    ("pods of others change: CPU (% of a core)", "foreign pods", "cpu percent of a core", 5, 1),
    ("memory (MiB)", "memory", "mib", 200, 120),
    ("a child deleted: restored, p99 (ms)", "restored", "p99 ms", 1000, 300),
    (
        "start with many: first new resource (s)",
        "start",
        "until the first new resource has its children",
        60,
        25,
    ),
    ("memory with many (MiB)", "memory at many", "mib", 600, 350),
)


def failed(found: Found) -> list[str]:
    """Return the rows that miss their floor."""
    return [
        title for title, row, field, floor, _ in GOALS if row in found and found[row][field] > floor
    ]


def table(found: Found) -> str:
    """Return the measured rows as Markdown."""
    lines = ["| Work | Measured | Floor | Aim |", "| --- | --- | --- | --- |"]
    for title, row, field, floor, aim in GOALS:
        if row in found:
            lines.append(f"| {title} | {found[row][field]:g} | {floor:g} | {aim:g} |")
    return "\n".join(lines)
