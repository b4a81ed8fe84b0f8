"""Cache of rendered manifests, shared by resources that differ in name only.

Rendering takes milliseconds, and most of a thousand resources differ in nothing but namespace, name
and uid. So manifests are rendered once with placeholders for these and cached as text; for each
resource the placeholders are replaced. They are random, so no input can contain one.
"""

import json
import secrets
from collections import OrderedDict
from dataclasses import replace

from deepseek_operator.plan.desired.desired_state import DesiredState, Resource
from deepseek_operator.render.children import Manifest, children
from deepseek_operator.render.signature import sign

# Cached texts, about 10 kB each.
KEPT = 256


class Renderer:
    """Renderer with a cache; its results equal those of `children`."""

    def __init__(self) -> None:
        # Valid as names, and short enough that no manifest truncates them.
        self._placeholder = Resource(*(f"x{secrets.token_hex(8)}" for _ in range(3)))
        self._texts: OrderedDict[str, str] = OrderedDict()

    def children(self, desired: DesiredState) -> list[Manifest]:
        """Return all manifests of a resource, in the order of application."""
        generic = replace(desired, resource=self._placeholder)
        shape = repr(generic)
        text = self._texts.get(shape)
        if text is None:
            text = self._texts[shape] = json.dumps(children(generic))
            if len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(shape)
        own, placeholder = desired.resource, self._placeholder
        for part, value in (
            (placeholder.namespace, own.namespace),
            (placeholder.name, own.name),
            (placeholder.uid, own.uid),
        ):
            text = text.replace(part, value)
        manifests: list[Manifest] = json.loads(text)
        for manifest in manifests:
            sign(manifest)
        return manifests
