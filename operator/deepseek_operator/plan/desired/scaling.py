"""Autoscaling: the metrics, the desired number of replicas, and the condition Autoscaling."""

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
    """A pod metric that an autoscaler reads.

    Attributes:
        name: Name in the custom metrics API.
        samples: Names in /metrics whose values are summed, by the engine of the pod.
        factor: Multiplier of the sum.
        share: True if values are fractions: several in a pod are averaged, not summed.
    """

    name: str
    samples: Mapping[EngineType, tuple[str, ...]]
    factor: int = 1
    share: bool = False


REQUESTS = Metric(
    "deepseek_requests", {name: entry.metrics.requests for name, entry in engines().items()}
)
# All engines report a fraction from 0 to 1.
KV_CACHE = Metric(
    "deepseek_kv_cache_percent",
    {name: (entry.metrics.cache,) for name, entry in engines().items()},
    factor=100,
    share=True,
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (REQUESTS, KV_CACHE)}


def goals(scaling: Scaling) -> list[tuple[Metric, int]]:
    """Return the metrics in use, each with its target average per replica."""
    wanted = (
        (REQUESTS, scaling.target.requests_per_replica),
        (KV_CACHE, scaling.target.kv_cache_percent),
    )
    return [(metric, value) for metric, value in wanted if value is not None]


def promql(metric: Metric, namespace: str, name: str, engine: EngineType = "transformers") -> str:
    """Return a PromQL query for the sum of a metric over the pods of a resource.

    Pods are named after their ReplicaSet, and that after the resource. Kubernetes truncates very long
    names, including the hyphen before the last part. Names have only letters, digits and hyphens, so
    they need no escaping.
    """
    pods = f"{name}-[a-z0-9]+(-[a-z0-9]+)?"
    samples = "|".join(metric.samples[engine])
    found = f'{{__name__=~"{samples}",namespace="{namespace}",pod=~"{pods}"}}'
    if metric.share and "data" in engines()[engine].parallelism:
        # Each data-parallel rank reports its own fraction.
        found = f"avg by (pod) ({found})"
    return f"sum({found}) * {metric.factor}"


def replicas(spec: Spec, observed: Observed) -> int:
    """Return the desired number of replicas: from the spec, or last set by the autoscaler."""
    if spec.scaling is None:
        return spec.replicas
    wanted = observed.deployment.wanted
    return spec.scaling.min_replicas if wanted is None else wanted


@dataclass(frozen=True)
class AutoscalingVerdict:
    """Status, reason and message of Autoscaling; `holds` None means Unknown."""

    holds: bool | None
    reason: str
    message: str


def autoscaling_verdict(scaling: Scaling, observed: Observed) -> AutoscalingVerdict:
    """Return whether the autoscaler sets the number of replicas, with the reason if not."""
    if scaling.metrics == "operator" and observed.metrics_served_by:
        return AutoscalingVerdict(
            False,
            METRICS_API_TAKEN,
            f"The API custom.metrics.k8s.io is served by {observed.metrics_served_by}, so the "
            "operator can't provide the load metrics. If that is prometheus-adapter, add the rules "
            "of examples/prometheus-adapter and set scaling.metrics: prometheusAdapter; otherwise "
            "remove its APIService, or set scaling.metrics: keda.",
        )
    autoscaler = observed.autoscaler
    if autoscaler is None or autoscaler.active is None:
        return AutoscalingVerdict(None, STARTING, "The autoscaler is being created.")
    if not autoscaler.active:
        return AutoscalingVerdict(False, autoscaler.reason, autoscaler.message)
    goal_text = " and ".join(_goal(metric, value) for metric, value in goals(scaling))
    return AutoscalingVerdict(
        True,
        ACTIVE,
        f"Scaling between {scaling.min_replicas} and {scaling.max_replicas} replicas; target per "
        f"replica: {goal_text}.",
    )


def _goal(metric: Metric, value: int) -> str:
    return f"{value} requests" if metric is REQUESTS else f"{value} percent of its KV cache in use"
