"""Revision of a set of pods: the part of a spec that determines its pods, and a name for it.

A revision is stored in the cluster as a ControllerRevision, so that the serving set can be repaired and
scaled after the spec has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.engines.image import image
from deepseek_operator.plan.state.settings import Settings

# The fields that determine the pods; all others are about replicas, access and the like.
FIELDS = ("model", "accelerator", "parallelism", "engine", "podTemplate")
LENGTH = 10


@dataclass(frozen=True)
class Revision:
    """A revision.

    Attributes:
        name: Hash of its content.
        content: The part of the spec, without defaults.
        number: Ordinal; later revisions have higher ones.
    """

    name: str
    content: Mapping[str, Any]
    number: int = 1


def revision(spec: Spec, settings: Settings) -> Revision:
    """Return the revision of a spec.

    The default image of the installation is part of it: a new version of the server is rolled out like
    any other change.
    """
    plain = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content = {field: plain[field] for field in FIELDS if field in plain}
    engine = {**content.get("engine", {}), "image": image(spec.engine, settings)}
    drain = plain.get("rollout", {}).get("drainSeconds")
    content |= {"engine": engine} | ({} if drain is None else {"rollout": {"drainSeconds": drain}})
    text = json.dumps(content, sort_keys=True)
    return Revision(hashlib.sha256(text.encode()).hexdigest()[:LENGTH], content)


def spec_of(found: Revision, newest: Spec) -> Spec:
    """Return the spec for a set of a revision: its pods from the revision, the rest from the newest spec.

    Raises:
        pydantic.ValidationError: This version can't read the revision.
    """
    plain = newest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    kept = {name: value for name, value in plain.items() if name not in FIELDS}
    rollout = {k: v for k, v in kept.pop("rollout", {}).items() if k != "drainSeconds"}
    content = dict(found.content)
    rollout |= content.pop("rollout", {})
    return Spec.model_validate({**kept, **content, "rollout": rollout})
