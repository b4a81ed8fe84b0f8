"""`spec.rollout`: replacement of running replicas when the spec changes."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated

DRAIN_SECONDS = 60
UNITS = {"s": 1, "m": 60, "h": 3600}

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,5}[smh]$", max_length=6)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{10}$", max_length=10)]


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as 90s, 5m or 1h."""
    return int(duration[:-1]) * UNITS[duration[-1]]


class Analysis(Section):
    """Comparison of candidate and stable pods, by the metrics of their model servers."""

    min_requests: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description=(
            "Minimum requests that candidate and stable must each have answered in a step before the "
            "next step begins. A candidate that is significantly worse is rolled back earlier."
        ),
    )
    max_error_rate: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description=(
            "Maximum share of failed requests (5xx, broken streams) of the candidate, 0.01 is one "
            "percent. A higher share that stable has too is tolerated. Also the maximum by which the "
            "candidate's share of refused requests (4xx except 429) may exceed that of stable."
        ),
    )
    max_ttft_ratio: float = Field(
        default=1.2,
        ge=1,
        le=100,
        alias="maxTTFTRatio",
        description=(
            "Maximum ratio of the candidate's time to first token (p95) to that of stable. "
            "A candidate above it is rolled back."
        ),
    )
    max_itl_ratio: float = Field(
        default=1.2,
        ge=1,
        le=100,
        alias="maxITLRatio",
        description=(
            "Maximum ratio of the candidate's inter-token latency (p95) to that of stable. "
            "A candidate above it is rolled back."
        ),
    )
    warm_up: Duration = Field(
        default="1m",
        description=(
            "Time after a pod became ready in which its metrics are excluded from the comparison, "
            "because its caches are empty. A duration such as 30s or 1m."
        ),
    )


class CanaryStep(Section):
    """One step of a canary rollout."""

    weight: int = Field(
        ge=1, le=99, description="Share of requests sent to the candidate, in percent."
    )
    pause: Duration = Field(
        default="5m",
        description=(
            "Minimum duration of the step after its warm-up, such as 90s, 5m or 1h. The step takes "
            "longer while the comparison is inconclusive."
        ),
    )


class Canary(Section):
    """Canary rollout: a growing share of requests goes to a candidate that is compared with stable."""

    steps: list[CanaryStep] = Field(
        default=[CanaryStep(weight=5), CanaryStep(weight=50)],
        min_length=1,
        max_length=20,
        description=(
            "Steps in order; after the last one the candidate takes all requests. "
            "Default: 5 and 50 percent, 5m each."
        ),
    )
    analysis: Analysis = Field(
        default=Analysis(),
        description=(
            "Criteria by which the candidate is compared with stable, and promoted or rolled back."
        ),
    )


class BlueGreen(Section):
    """Blue-green rollout: a complete second set of pods is checked, then takes all requests at once."""

    keep_old: Duration = Field(
        default="10m",
        description=(
            "Time for which the old pods keep running after the switch, so that a rollback takes "
            "effect at once. A duration such as 90s, 10m or 1h."
        ),
    )
    check_requests: int = Field(
        default=3,
        ge=0,
        le=100,
        description=(
            "Number of completion requests that the operator sends to each new replica, and that the "
            "replica must answer before the switch."
        ),
    )


class Rollout(Section):
    """Replacement of running replicas when the spec changes."""

    model_config = validated(
        rule(
            "!has(self.promote) || !has(self.abort) || self.promote != self.abort",
            "rollout.promote and rollout.abort name the same revision: remove one of them",
        ),
    )

    strategy: Literal["auto", "blueGreen", "canary"] = Field(
        default="auto",
        description=(
            "auto: replicas are replaced one by one, with a surge replica if a GPU is free. canary: a "
            "growing share of requests goes to a candidate, which is promoted or rolled back by "
            "comparison. blueGreen: a complete second set is checked, then takes all requests at once."
        ),
    )
    canary: Canary = Field(
        default=Canary(), description="Parameters of strategy canary; ignored otherwise."
    )
    blue_green: BlueGreen = Field(
        default=BlueGreen(), description="Parameters of strategy blueGreen; ignored otherwise."
    )
    progress_deadline: Duration | None = Field(
        default=None,
        description=(
            "Maximum time from scheduling until a candidate's replica serves, such as 30m; after that "
            "the candidate is rolled back. Default: an estimate from the size of the model. "
            "Ignored where strategy is auto."
        ),
    )
    hold: bool = Field(
        default=False,
        description=(
            "Pauses a canary in its current step, or blueGreen before the switch, until it is false "
            "again. A candidate that fails is rolled back all the same."
        ),
    )
    promote: Revision | None = Field(
        default=None,
        description=(
            "Revision (status.rollout.revision) to promote without further steps or comparison. "
            "It has no effect on other revisions, so it may stay in the spec. Default: none."
        ),
    )
    abort: Revision | None = Field(
        default=None,
        description=(
            "Revision (status.rollout.revision) to roll back, or not to start. "
            "It has no effect on other revisions, so it may stay in the spec. Default: none."
        ),
    )
    when_no_gpu_is_free: Literal["inPlace", "wait"] = Field(
        default="inPlace",
        description=(
            "Behaviour if no suitable GPU is free for a surge replica. inPlace: stop one replica "
            "and start its successor on its GPUs; one replica fewer serves meanwhile (a single replica "
            "is interrupted, but never by a canary). wait: keep all replicas until a GPU becomes free "
            "or a node is added."
        ),
    )
    drain_seconds: int = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=86_400,
        description=(
            "Seconds that running requests get to finish when a replica is stopped; requests that "
            "take longer are aborted. Changing it replaces the replicas."
        ),
    )
