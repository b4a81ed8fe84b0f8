"""How many replicas there are where load decides: by which metrics, and what is said about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_operator.api.engine import EngineType
from deepseek_operator.api.scaling import Scaling
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.engines import engines
from deepseek_operator.plan.state.observed import Observed

STARTING = "Starting"
ACTIVE = "Active"
METRICS_API_TAKEN = "MetricsApiTaken"


@dataclass(frozen=True)
class Metric:
    """A metric of a pod that an autoscaler looks at.

    Attributes:
        name: Its name in the custom metrics API.
        samples: Names in /metrics whose values are added, by the engine of the pod.
        factor: What the sum is multiplied by.
        share: Whether each value is a share of a whole: of several in a pod the average counts.
    """

    name: str
    samples: Mapping[EngineType, tuple[str, ...]]
    factor: int = 1
    share: bool = False


REQUESTS = Metric(
    "deepseek_requests", {name: entry.metrics.requests for name, entry in engines().items()}
)
# All engines tell a share from 0 to 1.
KV_CACHE = Metric(
    "deepseek_kv_cache_percent",
    {name: (entry.metrics.cache,) for name, entry in engines().items()},
    factor=100,
    share=True,
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (REQUESTS, KV_CACHE)}


def goals(scaling: Scaling) -> list[tuple[Metric, int]]:
    """The metrics that count, each with the value that a replica shall have on average."""
    wanted = (
        (REQUESTS, scaling.target.requests_per_replica),
        (KV_CACHE, scaling.target.kv_cache_percent),
    )
    return [(metric, value) for metric, value in wanted if value is not None]


def promql(metric: Metric, namespace: str, name: str, engine: EngineType = "transformers") -> str:
    """The sum of a metric over the pods of a resource, in Prometheus' language.

    Pods are named after their ReplicaSet, and that after the resource; of a very long name
    Kubernetes cuts the end off, the hyphen before the last part included. Names hold letters,
    digits and hyphens alone, so nothing in them has a meaning of its own here.
    """
    pods = f"{name}-[a-z0-9]+(-[a-z0-9]+)?"
    samples = "|".join(metric.samples[engine])
    found = f'{{__name__=~"{samples}",namespace="{namespace}",pod=~"{pods}"}}'
    if metric.share and "data" in engines()[engine].parallelism:
        # Each group that has requests of its own tells a share.
        found = f"avg by (pod) ({found})"
    return f"sum({found}) * {metric.factor}"


def replicas(spec: Spec, observed: Observed) -> int:
    """Replicas that there shall be: what the spec says, or what the autoscaler has said last."""
    if spec.scaling is None:
        return spec.replicas
    wanted = observed.deployment.wanted
    return spec.scaling.min_replicas if wanted is None else wanted


@dataclass(frozen=True)
class Word:
    """Whether load decides. `holds` None means that nobody knows yet."""

    holds: bool | None
    reason: str
    message: str


def said(scaling: Scaling, observed: Observed) -> Word:
    """Whether load decides about the number of replicas, and why not."""
    if scaling.metrics == "operator" and observed.metrics_served_by:
        return Word(
            False,
            METRICS_API_TAKEN,
            f"The API custom.metrics.k8s.io belongs to {observed.metrics_served_by}, so the "
            "operator can't tell the load. Where that is prometheus-adapter, give it the rules of "
            "examples/prometheus-adapter and write scaling.metrics: prometheusAdapter; else remove "
            "its APIService, or write scaling.metrics: keda.",
        )
    autoscaler = observed.autoscaler
    if autoscaler is None or autoscaler.active is None:
        return Word(None, STARTING, "The autoscaler is being made.")
    if not autoscaler.active:
        return Word(False, autoscaler.reason, autoscaler.message)
    words = " and ".join(_goal(metric, value) for metric, value in goals(scaling))
    return Word(
        True,
        ACTIVE,
        f"Between {scaling.min_replicas} and {scaling.max_replicas} replicas, so that each has "
        f"{words}.",
    )


def _goal(metric: Metric, value: int) -> str:
    return f"{value} requests" if metric is REQUESTS else f"{value} percent of its KV cache in use"
