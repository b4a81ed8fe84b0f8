"""`spec.rollout`: how running replicas are replaced when the spec changes."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated

DRAIN_SECONDS = 60
UNITS = {"s": 1, "m": 60, "h": 3600}

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,5}[smh]$", max_length=6)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{10}$", max_length=10)]


def seconds(duration: str) -> int:
    """The seconds of a duration such as 90s, 5m or 1h."""
    return int(duration[:-1]) * UNITS[duration[-1]]


class Analysis(Section):
    """How the new set is compared with the stable one, by what the model servers count themselves."""

    min_requests: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description=(
            "Requests that each of both sets must have answered in a step before the next one may "
            "begin. A set that is certainly worse is rolled back before that."
        ),
    )
    max_error_rate: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description=(
            "Share of requests that may fail, 0.01 is one percent; more is no reason to roll back "
            "where the stable set's requests fail as often. So much more than by the stable set may "
            "be refused, too (4xx, without 429)."
        ),
    )
    max_ttft_ratio: float = Field(
        default=1.2,
        ge=1,
        le=100,
        alias="maxTTFTRatio",
        description="How many times the stable set's time to first token (p95) the new one's may be.",
    )
    max_itl_ratio: float = Field(
        default=1.2,
        ge=1,
        le=100,
        alias="maxITLRatio",
        description="The same for the time between two tokens (p95).",
    )
    warm_up: Duration = Field(
        default="1m",
        description=(
            "What a pod does in the first time after it became ready does not count: its caches are "
            "empty. Such as 30s, 1m."
        ),
    )


class CanaryStep(Section):
    """One step of a canary."""

    weight: int = Field(
        ge=1, le=99, description="Share of the requests that go to the new set, in percent."
    )
    pause: Duration = Field(
        default="5m", description="How long at least, such as 90s, 5m, 1h. Warm-up comes before it."
    )


class Canary(Section):
    """A growing share of the requests goes to the new set, which is compared with the stable one."""

    steps: list[CanaryStep] = Field(
        default=[CanaryStep(weight=5), CanaryStep(weight=50)],
        min_length=1,
        max_length=20,
        description="After the last one the new set takes all requests. Default: 5 and 50 percent.",
    )
    analysis: Analysis = Field(
        default=Analysis(), description="When the new set is good enough, and when it is not."
    )


class BlueGreen(Section):
    """A whole second set is started and checked, then takes all requests at once."""

    keep_old: Duration = Field(
        default="10m",
        description=(
            "How long the old set is kept after the switch, ready to take the requests back at once."
        ),
    )
    check_requests: int = Field(
        default=3,
        ge=0,
        le=100,
        description=(
            "Real requests that every new replica must answer before the switch, sent by the operator."
        ),
    )


class Rollout(Section):
    """How running replicas are replaced when the spec changes."""

    model_config = validated(
        rule(
            "!has(self.promote) || !has(self.abort) || self.promote != self.abort",
            "rollout.promote and rollout.abort name the same revision: remove one of them",
        ),
    )

    strategy: Literal["auto", "blueGreen", "canary"] = Field(
        default="auto",
        description=(
            "auto: replicas are replaced one by one, with one more where a GPU is free. canary: a "
            "growing share of the requests goes to a second set, which is promoted or rolled back by "
            "comparison. blueGreen: a whole second set is checked, then takes all requests."
        ),
    )
    canary: Canary = Field(default=Canary(), description="How, where strategy is canary.")
    blue_green: BlueGreen = Field(
        default=BlueGreen(), description="How, where strategy is blueGreen."
    )
    progress_deadline: Duration | None = Field(
        default=None,
        description=(
            "How long a replica of a new set may take to serve once it has a node, such as 30m; "
            "after that it is rolled back. Default: what the start of the model should take. "
            "Without meaning where strategy is auto."
        ),
    )
    hold: bool = Field(
        default=False,
        description=(
            "True keeps a canary in its step, and blueGreen from the switch; what is worse is rolled "
            "back all the same."
        ),
    )
    promote: Revision | None = Field(
        default=None,
        description=(
            "The revision (status.rollout.revision) that takes all requests without further steps or "
            "comparison. It names no other revision, so it may stay."
        ),
    )
    abort: Revision | None = Field(
        default=None,
        description=(
            "The revision (status.rollout.revision) that is rolled back, or not begun. It names no "
            "other revision, so it may stay."
        ),
    )
    when_no_gpu_is_free: Literal["inPlace", "wait"] = Field(
        default="inPlace",
        description=(
            "What to do where no fitting GPU is free for one more replica. inPlace: stop one replica "
            "and start its successor on its GPUs, so one replica fewer serves meanwhile (of one: "
            "none; a canary never stops the last one). wait: keep all serving until a GPU becomes "
            "free or a node is added."
        ),
    )
    drain_seconds: int = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=86_400,
        description=(
            "Seconds that running requests get to end when a replica is stopped; what still runs "
            "then gets an error. A change replaces the replicas."
        ),
    )
