"""`spec.scaling`: autoscaling of the number of replicas by load."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated


class ScalingTarget(Section):
    """Target load per replica; with both fields set, the one that needs more replicas decides."""

    model_config = validated(
        rule(
            "has(self.requestsPerReplica) || has(self.kvCachePercent)",
            "scaling.target needs requestsPerReplica, kvCachePercent, or both;"
            " leave target out for the defaults, 16 requests and 80 percent",
        )
    )

    requests_per_replica: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description=(
            "Target number of requests per replica, running and waiting. "
            "Default: 16 if target is absent, else not used."
        ),
    )
    kv_cache_percent: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description=(
            "Target usage of the KV cache per replica, in percent. "
            "Default: 80 if target is absent, else not used."
        ),
    )


class ScaleIn(Section):
    """Pace at which replicas are removed."""

    stabilization_seconds: int = Field(
        default=300,
        ge=0,
        le=3600,
        description="Seconds for which the load must have been low before a replica is removed.",
    )


class Scaling(Section):
    """Autoscaling of the number of replicas by load. Takes the place of spec.replicas."""

    model_config = validated(
        rule(
            "self.minReplicas <= self.maxReplicas",
            "scaling.minReplicas must not be greater than scaling.maxReplicas",
        ),
        rule(
            "has(self.prometheusAddress) == (self.metrics == 'keda')",
            "scaling.prometheusAddress is required with scaling.metrics: keda and not allowed"
            " otherwise: write the URL of Prometheus, such as http://prometheus.monitoring.svc:9090,"
            " or remove it where metrics is operator or prometheusAdapter",
        ),
    )

    min_replicas: int = Field(
        default=1, ge=1, le=1000, description="Minimum number of replicas, kept without any load."
    )
    max_replicas: int = Field(
        ge=1, le=1000, description="Maximum number of replicas, whatever the load."
    )
    target: ScalingTarget = Field(
        default=ScalingTarget(requests_per_replica=16, kv_cache_percent=80),
        description=(
            "Target load per replica. Default: 16 requests and 80 percent of the KV cache."
        ),
    )
    scale_in: ScaleIn = Field(default=ScaleIn(), description="Pace at which replicas are removed.")
    metrics: Literal["operator", "prometheusAdapter", "keda"] = Field(
        default="operator",
        description=(
            "Source of the load metrics. operator: this operator reads them from the pods. "
            "prometheusAdapter: prometheus-adapter, with the rules of examples/prometheus-adapter. "
            "keda: KEDA reads them from Prometheus; a ScaledObject replaces the "
            "HorizontalPodAutoscaler."
        ),
    )
    prometheus_address: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^https?://.+$",
        description="URL of Prometheus. Required where metrics is keda, not allowed otherwise.",
    )
