"""What a set of pods was made of: the part of a spec that makes pods, and a name for it.

A revision is kept in the cluster as a ControllerRevision, so that what serves can be healed and scaled
while the spec has moved on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.engines.image import image
from deepseek_operator.plan.state.settings import Settings

# The fields that pods are made of; all others are about how many there are, who reaches them and the like.
FIELDS = ("model", "accelerator", "parallelism", "engine", "podTemplate")
LENGTH = 10


@dataclass(frozen=True)
class Revision:
    """A revision.

    Attributes:
        name: A hash of what it says.
        content: The part of the spec, without defaults.
        number: Which one came later.
    """

    name: str
    content: Mapping[str, Any]
    number: int = 1


def revision(spec: Spec, settings: Settings) -> Revision:
    """The revision of a spec.

    The image that an installation chooses is part of it: a new version of the server comes as any
    other change does.
    """
    plain = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content = {field: plain[field] for field in FIELDS if field in plain}
    engine = {**content.get("engine", {}), "image": image(spec.engine, settings)}
    drain = plain.get("rollout", {}).get("drainSeconds")
    content |= {"engine": engine} | ({} if drain is None else {"rollout": {"drainSeconds": drain}})
    text = json.dumps(content, sort_keys=True)
    return Revision(hashlib.sha256(text.encode()).hexdigest()[:LENGTH], content)


def spec_of(found: Revision, newest: Spec) -> Spec:
    """The spec by which a set of a revision is made now: all but its pods is as the newest one says.

    Raises:
        pydantic.ValidationError: The revision is none that this version can read.
    """
    plain = newest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    kept = {name: value for name, value in plain.items() if name not in FIELDS}
    rollout = {k: v for k, v in kept.pop("rollout", {}).items() if k != "drainSeconds"}
    content = dict(found.content)
    rollout |= content.pop("rollout", {})
    return Spec.model_validate({**kept, **content, "rollout": rollout})
