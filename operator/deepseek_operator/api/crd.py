"""CustomResourceDefinition, generated from the types by `python -m deepseek_operator.api.crd`."""

from typing import Any

import yaml

from deepseek_operator.api.generated import ROOT, write_or_check
from deepseek_operator.api.schema import structural
from deepseek_operator.api.section import GROUP, KIND, PLURAL, VERSION, rule
from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import Status

NAME = f"{PLURAL}.{GROUP}"
# The chart has a copy, because Helm can't read files outside of a chart.
COPIES = (
    ROOT / "crds" / f"{NAME}.yaml",
    ROOT / "charts/deepseek-operator/files/crds" / f"{NAME}.yaml",
)

COLUMNS = (
    ("Model", "string", ".spec.model.id", "Model being served.", 0),
    ("Accelerator", "string", ".status.resolved.accelerator", "Hardware of one replica.", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Status of condition Ready.", 0),
    ("Phase", "string", ".status.phase", "Human-readable state.", 0),
    ("Endpoint", "string", ".status.endpoint", "Base URL; the API is under /v1.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Time since creation.", 0),
)  # fmt: skip

NAME_RULE = rule(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
    "metadata.name must start with a letter, contain only a-z, 0-9 and '-', end with a letter or"
    " digit, and have at most 52 characters, because a Service of the same name is created",
)


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a dictionary."""
    schema = {
        "type": "object",
        "description": "A DeepSeek model served behind an OpenAI-compatible endpoint.",
        "required": ["spec"],
        "x-kubernetes-validations": [NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": f"Kind of the resource: {KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(Spec),
            # Before the first reconciliation, tools must not take a new resource for a ready one.
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
    """Return the CustomResourceDefinition as YAML."""
    header = "# Generated from operator/deepseek_operator/api by `make generate`. Do not edit.\n"
    return header + yaml.safe_dump(definition(), sort_keys=False, width=100)


def main() -> None:
    """Write the CRD files, or check them with --check."""
    write_or_check(dict.fromkeys(COPIES, text()))


if __name__ == "__main__":
    main()
