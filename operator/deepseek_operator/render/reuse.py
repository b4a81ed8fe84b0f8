"""Rendering once what many resources have in common.

Templates take milliseconds, and of a thousand resources most differ in nothing but namespace, name
and uid. So what is rendered is for a resource that has placeholders for these, and is kept as text;
for a real one they are replaced in it. The placeholders are random, so no input can contain one.
"""

import json
import secrets
from collections import OrderedDict
from dataclasses import replace

from deepseek_operator.plan.desired.desired_state import Resource, Target
from deepseek_operator.render.children import Manifest, children
from deepseek_operator.render.signature import sign

# As text about 10 kB each.
KEPT = 256


class Renderer:
    """Renders the children of resources; equal in all but speed to `children`."""

    def __init__(self) -> None:
        # As long as nothing in a manifest shortens a name, and of letters that a name may have.
        self._anybody = Resource(*(f"x{secrets.token_hex(8)}" for _ in range(3)))
        self._texts: OrderedDict[str, str] = OrderedDict()

    def children(self, target: Target) -> list[Manifest]:
        """All manifests of a resource, in the order in which they are to be applied."""
        anybody = replace(target, resource=self._anybody)
        shape = repr(anybody)
        text = self._texts.get(shape)
        if text is None:
            text = self._texts[shape] = json.dumps(children(anybody))
            if len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(shape)
        own, placeholder = target.resource, self._anybody
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
