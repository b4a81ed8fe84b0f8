"""The CustomResourceDefinition, made from the types; `python -m deepseek_operator.api.crd` writes it."""

from typing import Any

import yaml

from deepseek_operator.api.generated import ROOT, write_or_check
from deepseek_operator.api.schema import structural
from deepseek_operator.api.section import GROUP, KIND, PLURAL, VERSION, rule
from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import Status

NAME = f"{PLURAL}.{GROUP}"
# The chart needs a copy: Helm reads no files from outside a chart.
COPIES = (
    ROOT / "crds" / f"{NAME}.yaml",
    ROOT / "charts/deepseek-operator/files/crds" / f"{NAME}.yaml",
)

COLUMNS = (
    ("Model", "string", ".spec.model.id", "Model that is served.", 0),
    ("Accelerator", "string", ".status.resolved.accelerator", "What one replica runs on.", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether it serves as asked.", 0),
    ("Phase", "string", ".status.phase", "What is going on, in words.", 0),
    ("Endpoint", "string", ".status.endpoint", "Base URL; the API is below /v1.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created.", 0),
)  # fmt: skip

NAME_RULE = rule(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
    "metadata.name must start with a letter, hold only a-z, 0-9 and '-', and have at most"
    " 52 characters, because a Service of the same name is made",
)


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition as a plain dictionary."""
    schema = {
        "type": "object",
        "description": "A DeepSeek model served behind an OpenAI-compatible endpoint.",
        "required": ["spec"],
        "x-kubernetes-validations": [NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(Spec),
            # Until the operator has looked, tools must not take a new resource for a finished one.
            "status": structural(Status) | {"default": {"observedGeneration": -1}},
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {
                "name": name,
                "type": kind,
                "jsonPath": path,
                "description": text,
                "priority": priority,
            }
            for name, kind, path, text, priority in COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["dsd"],
                "categories": ["deepseek"],
            },
            "versions": [version],
        },
    }


def text() -> str:
    """The CustomResourceDefinition as YAML."""
    header = "# Generated from operator/deepseek_operator/api by `make generate`. Do not edit.\n"
    return header + yaml.safe_dump(definition(), sort_keys=False, width=100)


def main() -> None:
    """Write the CRD to its places, or check it there."""
    write_or_check(dict.fromkeys(COPIES, text()))


if __name__ == "__main__":
    main()
