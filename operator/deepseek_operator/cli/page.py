"""A plan as a person reads it."""

from typing import Any

from deepseek_operator.cli.output import new_table, show, write

BAR = 40
PARTS = ("reserved", "weights", "steps", "cache", "rest")
# How many ways to pay are shown; all of them are in -o json.
OFFERS = 10
# How many nodes and holders.
NODES = 5


def page(said: dict[str, Any]) -> None:
    """Write a plan of `said.plain`."""
    resource, model, shape = said["resource"], said["model"], said["shape"]
    write(f"{resource['namespace']}/{resource['name']}: {model['id']}\n")
    write(
        f"  from     {model['source']}\n  answers  {said['endpoint']}/v1 as {model['servedName']}\n"
    )
    _fit(said["fit"])
    _shape(shape)
    if "room" in said:
        _room(said["room"])
    _performance(said["performance"])
    _cost(said["cost"])
    _head("Children")
    names = [f"{child['kind']}/{child['name']}" for child in said["children"]]
    write("  " + "\n  ".join(names) + "\n")
    _reach("Who can reach it", said["reach"]["incoming"])
    _reach("What it reaches", said["reach"]["outgoing"])
    if said["warnings"]:
        _head("Think of")
        write("".join(f"  - {warning}\n" for warning in said["warnings"]))


def _head(text: str) -> None:
    write(f"\n{text}\n")


def _fit(fit: dict[str, Any]) -> None:
    _head(f"Fit: {fit['accelerator']}, {fit['dtype']}")
    sizes = fit["bytesOfGpu"]
    if not sizes:
        write("  not checked\n")
        return
    for name in PARTS:
        share = sizes[name] / sizes["total"]
        bar = "#" * round(share * BAR)
        write(f"  {name:9}{sizes[name] / 1e9:8.1f} GB  {bar}\n")
    write(f"  {'of each':9}{sizes['total'] / 1e9:8.1f} GB\n")
    write(f"  requests of up to {fit['maxContext']:,} tokens; {fit['concurrency']}\n")


def _shape(shape: dict[str, Any]) -> None:
    few, many = shape["replicas"]["min"], shape["replicas"]["max"]
    _head(f"Shape: {few if few == many else f'{few} to {many}'} replica(s)")
    pod = shape["pod"]
    write(
        f"  {shape['podsOfReplica']} pod(s) each, tensor {shape['tensor']}, "
        f"{shape['gpus']['ofReplica']} GPU(s) of a replica\n"
        f"  a pod asks for {pod['millicores'] / 1000:g} CPU, {pod['memoryBytes'] / 2**30:.1f} GiB memory, "
        f"{pod['shmBytes'] / 2**30:g} GiB /dev/shm, {pod['downloadBytes'] / 1e9:.0f} GB disk\n"
        f"  a start may take {shape['startSeconds']} s, a drain {shape['drainSeconds']} s\n"
    )


def _room(room: dict[str, Any] | None) -> None:
    _head("Room in the cluster now")
    if room is None:
        write(
            "  not known: who holds what of the nodes may not be read (list pods in all namespaces)\n"
        )
        return
    nodes = ", ".join(room["nodes"][:NODES]) + (" ..." if len(room["nodes"]) > NODES else "")
    write(f"  {len(room['nodes'])} node(s) suit{f': {nodes}' if nodes else ''}\n")
    if gpus := room["gpus"]:
        held = ", ".join(f"{item['who']} ({item['number']})" for item in gpus["holders"][:NODES])
        of = f"{gpus['free']} of {gpus['total']} x {gpus['resource']} are free"
        write(f"  {of}{f'; held by {held}' if held else ''}\n")
    fits, missing = room["replicasThatFit"], room["replicasMissing"]
    said = "enough" if room["enough"] else "too few: some would wait"
    write(f"  room for {fits} more replica(s), {missing} to come: {said}\n")
    if room["rollout"]:
        write(f"  a rollout: {room['rollout']['message']}\n")


def _performance(performance: dict[str, Any] | None) -> None:
    _head("Speed of a replica")
    if performance is None:
        write("  not predicted\n")
        return
    table = new_table("  at once", "first token", "between tokens", "tokens/s", "requests/s")
    for row in performance["ofReplica"]:
        table.add_row(
            f"  {row['atOnce']}",
            f"{1000 * row['ttftSeconds']:.0f} ms",
            f"{1000 * row['itlSeconds']:.1f} ms",
            f"{row['outputTokensPerSecond']:,.0f}",
            f"{row['requestsPerSecond']:.3g}",
        )
    show(table)
    write(
        f"  {performance['inputTokens']} tokens in, {performance['outputTokens']} out; within "
        f"{performance['error']:.0%} ({performance['basis']})\n"
    )


def _cost(cost: dict[str, Any] | None) -> None:
    _head("Cost, US dollars")
    if cost is None:
        write("  not known\n")
        return
    table = new_table("  terms", "where", "what", "per hour", "per month", "per Mtok out", "doubts")
    for row in cost["offers"][:OFFERS]:
        each = row["perMillionOutputTokens"]
        table.add_row(
            f"  {row['terms']}",
            row["where"],
            row["what"],
            f"{row['perHour']:.2f}",
            f"{row['perMonth']:,}",
            f"{each:.3g}" if each else "-",
            ", ".join(row["doubts"]),
        )
    show(table)
    load = cost["load"]
    of = "all that it can do" if load["full"] else f"{load['hoursPerDay']:g} hours a day"
    if load["requestsPerSecond"]:
        write(f"  at {load['requestsPerSecond']:g} requests/s, {of}\n")
    write(f"  for {cost['replicas']} replica(s), all hours of a month\n")
    if "atMost" in cost:
        most = cost["atMost"]
        write(
            f"  at most {most['offers'][0]['perMonth']:,} a month for {most['replicas']} replicas\n"
        )


def _reach(title: str, rows: list[dict[str, Any]]) -> None:
    _head(title)
    table = new_table("  who", "port", "what", "proof")
    for row in rows:
        table.add_row(
            f"  {row['who']}",
            str(row["port"] or "any"),
            ", ".join(row["paths"] or ["anything"]),
            ", ".join(row["proofs"]) or "none",
        )
    show(table)
