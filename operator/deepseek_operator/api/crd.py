"""The CustomResourceDefinition, made from the types; `python -m deepseek_operator.api.crd` writes it."""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.api.schema import structural
from deepseek_operator.api.section import GROUP, KIND, PLURAL, VERSION, rule
from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import Status

NAME = f"{PLURAL}.{GROUP}"
ROOT = Path(__file__).parents[3]
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
    ("Endpoint", "string", ".status.endpoint", "Base URL inside the cluster.", 1),
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
    """Write the CRD to its places, or with --check fail where they differ."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 on a difference"
    )
    check = parser.parse_args().check
    stale = [path for path in COPIES if not path.exists() or path.read_text() != text()]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"{names} differs from operator/deepseek_operator/api: run `make generate`")
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text())


if __name__ == "__main__":
    main()
