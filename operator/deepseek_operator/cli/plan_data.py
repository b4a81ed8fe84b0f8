"""A plan as plain data: the output of `-o json`, and the input of the text and HTML pages."""

from typing import Any

from deepseek_operator.advisor.cost import Offer
from deepseek_operator.advisor.proposal import Proposal, arithmetic
from deepseek_operator.cli.reachability import ANYTHING, Reach, incoming, outgoing
from deepseek_operator.plan.rolling.headroom import Headroom
from deepseek_operator.plan.sizing.sizing import resolved
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status.progress import REASONS
from deepseek_operator.render.children import Manifest


def plain(found: Proposal, children: list[Manifest], settings: Settings) -> dict[str, Any]:
    """Return a plan as plain data."""
    desired = found.desired
    return {
        "accepted": True,
        "resource": {"namespace": desired.resource.namespace, "name": desired.resource.name},
        "model": {
            "id": desired.model_id,
            "servedName": desired.served_name,
            "source": desired.source,
        },
        "engine": {"type": desired.engine, "image": desired.image},
        "endpoint": desired.endpoint,
        "fit": _fit(found),
        "shape": _shape(found),
        "performance": _performance(found),
        "cost": _cost(found),
        "children": [
            {"kind": child["kind"], "name": child["metadata"]["name"]} for child in children
        ],
        "reach": {
            "incoming": [_reach(row) for row in incoming(desired, settings)],
            "outgoing": [_reach(row) for row in outgoing(desired)],
        },
        "warnings": list(found.warnings),
    }


def headroom_data(found: Headroom | None) -> dict[str, Any] | None:
    """Return the free capacity of a cluster as plain data; None if it can't be read."""
    if found is None:
        return None
    contention, step = found.gpu_contention, found.step
    reason, message = REASONS[step.why] if step else (None, None)
    return {
        "nodes": list(found.nodes),
        "replicasThatFit": found.free_slots,
        "replicasMissing": found.missing,
        "enough": found.enough,
        "gpus": {
            "resource": contention.devices,
            "total": contention.total,
            "free": contention.free,
            "holders": [{"who": who, "number": number} for who, number in contention.holders],
        }
        if contention
        else None,
        "rollout": {"surge": bool(step.surge), "reason": reason, "message": message}
        if step
        else None,
    }


def _fit(found: Proposal) -> dict[str, Any]:
    sizing = found.desired.sizing
    memory = sizing.memory
    return {
        "accelerator": found.desired.accelerator,
        "checked": memory is not None,
        "dtype": resolved(sizing)["dtype"],
        "maxContext": sizing.context,
        "bytesOfGpu": arithmetic(found.desired),
        "cacheTokens": memory.longest if memory else None,
        "concurrency": sizing.concurrency,
    }


def _shape(found: Proposal) -> dict[str, Any]:
    desired, (few, many) = found.desired, found.replicas
    split, needs = desired.sizing.split, desired.needs
    each = desired.pods * (desired.gpus.count if desired.gpus else 0)
    return {
        "replicas": {"min": few, "max": many},
        "gpus": {"ofReplica": each, "min": few * each, "max": many * each},
        "podsOfReplica": desired.pods,
        "tensor": split.tensor,
        "pipeline": split.pipeline,
        "data": split.data,
        "pod": {
            "limits": dict(desired.limits),
            "millicores": needs.millicores,
            "memoryBytes": needs.memory,
            "shmBytes": needs.shm,
            "downloadBytes": needs.download,
        },
        "startSeconds": desired.config["startSeconds"],
        "drainSeconds": desired.config["drainSeconds"],
    }


def _performance(found: Proposal) -> dict[str, Any] | None:
    if not found.predictions:
        return None
    load, first = found.load, found.predictions[0]
    return {
        "ofReplica": [
            {
                "atOnce": item.at_once,
                "ttftSeconds": _short(item.ttft),
                "itlSeconds": _short(item.itl),
                "outputTokensPerSecond": _short(item.per_second),
                "requestsPerSecond": _short(item.requests(load.output)),
            }
            for item in found.predictions
        ],
        "inputTokens": load.input,
        "outputTokens": load.output,
        "error": _short(first.error),
        "basis": first.basis,
    }


def _cost(found: Proposal) -> dict[str, Any] | None:
    if not found.offers:
        return None
    load, (few, many) = found.load, found.replicas
    cost = {
        "currency": "USD",
        "replicas": few,
        "load": {
            "requestsPerSecond": load.requests or _short(found.capacity),
            "full": not load.requests,
            "hoursPerDay": load.hours if load.requests else 24,
            "outputTokensPerMonth": round(found.tokens_per_month),
        },
        "offers": [_offer(found, offer) for offer in found.offers],
    }
    if found.most:
        cost["atMost"] = {
            "replicas": many,
            "offers": [_offer(found, offer, tokens=False) for offer in found.most],
        }
    return cost


def _offer(found: Proposal, offer: Offer, tokens: bool = True) -> dict[str, Any]:
    result = {
        "terms": offer.terms,
        "where": offer.where,
        "what": offer.what,
        "perHour": round(offer.per_hour, 3),
        "perMonth": round(offer.per_month()),
        "doubts": list(offer.doubts),
    }
    if tokens:
        each = found.per_million(offer)
        result["perMillionOutputTokens"] = _short(each)
    return result


def _reach(row: Reach) -> dict[str, Any]:
    return {
        "who": row.who,
        "port": row.port,
        "paths": None if row.paths == ANYTHING else list(row.paths),
        "proofs": list(row.proofs),
    }


def _short(value: float | None) -> float | None:
    """Round to three significant digits; predictions are no more precise."""
    return None if value is None else float(f"{value:.3g}")
