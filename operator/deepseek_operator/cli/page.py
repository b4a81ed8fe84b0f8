"""Text output of a plan."""

from typing import Any

from deepseek_operator.cli.output import new_table, show, write

BAR = 40
# Parts of a GPU's memory and their labels.
PARTS = {
    "reserved": "reserved",
    "weights": "weights",
    "steps": "activations",
    "cache": "KV cache",
    "rest": "free",
}
# Number of offers shown; -o json has all of them.
OFFERS = 10
# Number of nodes and of GPU holders shown.
NODES = 5


def page(plan: dict[str, Any]) -> None:
    """Print a plan as returned by `plan_data.plain`."""
    resource, model, shape = plan["resource"], plan["model"], plan["shape"]
    write(f"{resource['namespace']}/{resource['name']}: {model['id']}\n")
    write(
        f"  source    {model['source']}\n"
        f"  endpoint  {plan['endpoint']}/v1, model name {model['servedName']}\n"
    )
    _fit(plan["fit"])
    _shape(shape)
    if "room" in plan:
        _room(plan["room"])
    _performance(plan["performance"])
    _cost(plan["cost"])
    _head("Children")
    names = [f"{child['kind']}/{child['name']}" for child in plan["children"]]
    write("  " + "\n  ".join(names) + "\n")
    _reach("Allowed inbound traffic", plan["reach"]["incoming"])
    _reach("Allowed outbound traffic", plan["reach"]["outgoing"])
    if plan["warnings"]:
        _head("Warnings")
        write("".join(f"  - {warning}\n" for warning in plan["warnings"]))


def _head(text: str) -> None:
    write(f"\n{text}\n")


def _fit(fit: dict[str, Any]) -> None:
    _head(f"Fit: {fit['accelerator']}, {fit['dtype']}")
    sizes = fit["bytesOfGpu"]
    if not sizes:
        write("  not checked\n")
        return
    for name, label in PARTS.items():
        share = sizes[name] / sizes["total"]
        bar = "#" * round(share * BAR)
        write(f"  {label:11}{sizes[name] / 1e9:8.1f} GB  {bar}\n")
    write(f"  {'per GPU':11}{sizes['total'] / 1e9:8.1f} GB\n")
    write(f"  context of up to {fit['maxContext']:,} tokens; {fit['concurrency']}\n")


def _shape(shape: dict[str, Any]) -> None:
    few, many = shape["replicas"]["min"], shape["replicas"]["max"]
    _head(f"Shape: {few if few == many else f'{few} to {many}'} replica(s)")
    pod = shape["pod"]
    write(
        f"  per replica: {shape['podsOfReplica']} pod(s), {shape['gpus']['ofReplica']} GPU(s), "
        f"tensor parallel size {shape['tensor']}\n"
        f"  per pod: {pod['millicores'] / 1000:g} CPU, {pod['memoryBytes'] / 2**30:.1f} GiB memory, "
        f"{pod['shmBytes'] / 2**30:g} GiB /dev/shm, {pod['downloadBytes'] / 1e9:.0f} GB disk\n"
        f"  start timeout {shape['startSeconds']} s, drain timeout {shape['drainSeconds']} s\n"
    )


def _room(room: dict[str, Any] | None) -> None:
    _head("Free capacity in the cluster")
    if room is None:
        write("  unknown: reading GPU usage needs the right to list pods in all namespaces\n")
        return
    nodes = ", ".join(room["nodes"][:NODES]) + (" ..." if len(room["nodes"]) > NODES else "")
    write(f"  {len(room['nodes'])} suitable node(s){f': {nodes}' if nodes else ''}\n")
    if gpus := room["gpus"]:
        held = ", ".join(f"{item['who']} ({item['number']})" for item in gpus["holders"][:NODES])
        of = f"{gpus['free']} of {gpus['total']} x {gpus['resource']} free"
        write(f"  {of}{f'; held by {held}' if held else ''}\n")
    fits, missing = room["replicasThatFit"], room["replicasMissing"]
    verdict = "sufficient" if room["enough"] else "insufficient, some would wait"
    write(f"  {fits} more replica(s) fit, {missing} needed: {verdict}\n")
    if room["rollout"]:
        write(f"  rollout: {room['rollout']['message']}\n")


def _performance(performance: dict[str, Any] | None) -> None:
    _head("Predicted performance per replica")
    if performance is None:
        write("  not predicted\n")
        return
    table = new_table("  concurrency", "TTFT", "ITL", "tokens/s", "requests/s")
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
        f"  {performance['inputTokens']} input tokens, {performance['outputTokens']} output tokens; "
        f"error within {performance['error']:.0%} ({performance['basis']})\n"
    )


def _cost(cost: dict[str, Any] | None) -> None:
    _head("Cost in US dollars")
    if cost is None:
        write("  unknown\n")
        return
    table = new_table(
        "  terms", "location", "offer", "per hour", "per month", "per Mtok output", "caveats"
    )
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
    of = "full capacity" if load["full"] else f"{load['hoursPerDay']:g} hours per day"
    if load["requestsPerSecond"]:
        write(f"  at {load['requestsPerSecond']:g} requests/s, {of}\n")
    write(f"  for {cost['replicas']} replica(s), running the whole month\n")
    if "atMost" in cost:
        most = cost["atMost"]
        write(
            f"  at most {most['offers'][0]['perMonth']:,} per month for {most['replicas']} replicas\n"
        )


def _reach(title: str, rows: list[dict[str, Any]]) -> None:
    _head(title)
    table = new_table("  peer", "port", "paths", "authentication")
    for row in rows:
        table.add_row(
            f"  {row['who']}",
            str(row["port"] or "any"),
            ", ".join(row["paths"] or ["any"]),
            ", ".join(row["proofs"]) or "none",
        )
    show(table)
