"""`spec.scaling`: how many replicas there are, by load."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated


class ScalingTarget(Section):
    """The load that one replica shall have; with both, the one that needs more replicas counts."""

    model_config = validated(
        rule(
            "has(self.requestsPerReplica) || has(self.kvCachePercent)",
            "scaling.target needs requestsPerReplica, kvCachePercent, or both;"
            " leave target out for 16 requests and 80 percent",
        )
    )

    requests_per_replica: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Requests of one replica, those that wait for a turn included.",
    )
    kv_cache_percent: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Share of the KV cache of one replica that requests hold, in percent.",
    )


class ScaleIn(Section):
    """How carefully replicas are taken away."""

    stabilization_seconds: int = Field(
        default=300,
        ge=0,
        le=3600,
        description=(
            "The load must have been low for so long, in seconds, before a replica is taken away."
        ),
    )


class Scaling(Section):
    """How many replicas there are, by load. Takes the place of spec.replicas."""

    model_config = validated(
        rule(
            "self.minReplicas <= self.maxReplicas",
            "scaling.minReplicas must not be greater than scaling.maxReplicas",
        ),
        rule(
            "has(self.prometheusAddress) == (self.metrics == 'keda')",
            "scaling.prometheusAddress belongs to scaling.metrics: keda, which needs it: write"
            " Prometheus' URL, such as http://prometheus.monitoring.svc:9090, or leave it out"
            " where metrics is operator or prometheusAdapter",
        ),
    )

    min_replicas: int = Field(
        default=1, ge=1, le=1000, description="Replicas that there are without any load."
    )
    max_replicas: int = Field(
        ge=1, le=1000, description="Replicas that there are at most, whatever the load."
    )
    target: ScalingTarget = Field(
        default=ScalingTarget(requests_per_replica=16, kv_cache_percent=80),
        description=(
            "The load that one replica shall have. Default: 16 requests, 80 percent of the KV cache."
        ),
    )
    scale_in: ScaleIn = Field(
        default=ScaleIn(), description="How carefully replicas are taken away."
    )
    metrics: Literal["operator", "prometheusAdapter", "keda"] = Field(
        default="operator",
        description=(
            "Who measures the load. operator: this operator, from the pods' own metrics. "
            "prometheusAdapter: prometheus-adapter, with the rules of examples/prometheus-adapter. "
            "keda: a ScaledObject of KEDA instead of a HorizontalPodAutoscaler."
        ),
    )
    prometheus_address: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^https?://.+$",
        description="URL of Prometheus, where metrics is keda.",
    )
