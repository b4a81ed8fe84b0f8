"""Checks of the API server and of the CRD."""

import re
from collections.abc import Iterator
from typing import Any

from deepseek_operator.api.crd import definition
from deepseek_operator.api.section import VERSION
from deepseek_operator.cli.doctor.drift import drift
from deepseek_operator.cli.doctor.facts import Facts, Object
from deepseek_operator.cli.doctor.finding import Finding, Unseen, unseen

# The minimum Kubernetes version, as in Chart.yaml and docs/install.md.
OLDEST = (1, 29)
SHOWN = 5


def supported(facts: Facts) -> Iterator[Finding]:
    """Check that the operator supports the version of the API server."""
    check = "Kubernetes"
    if isinstance(facts.version, Unseen):
        yield unseen(check, facts.version)
        return
    found = re.match(r"v?(\d+)\.(\d+)", facts.version)
    if not found:
        yield Finding(
            check, "unknown", f"The API server reports no usable version ({facts.version!r})."
        )
        return
    oldest = ".".join(map(str, OLDEST))
    if (int(found[1]), int(found[2])) < OLDEST:
        fix = f"Upgrade the cluster to {oldest} or newer."
        yield Finding(
            check, "problem", f"The version is {facts.version}; the operator needs {oldest}.", fix
        )
        return
    yield Finding(check, "ok", f"The version is {facts.version}.")


def knows_our_kind(facts: Facts) -> Iterator[Finding]:
    """Check that the CRD is installed and belongs to this release."""
    check = "CRD"
    if facts.serves_ours is False:
        fix = "kubectl apply --server-side -f crds/, or install the chart with crds.enabled=true."
        yield Finding(check, "problem", "The CRD of DeepSeekDeployment is not installed.", fix)
        return
    if isinstance(facts.serves_ours, Unseen):
        yield unseen(check, facts.serves_ours)
        return
    if isinstance(facts.crd, Unseen):
        found = unseen(check, facts.crd)
        message = f"DeepSeekDeployment is served, but its release can't be checked: {found.message}"
        yield Finding(check, "unknown", message, found.fix)
        return
    yield _of_this_release(check, _schema(facts.crd or {}))


def _schema(crd: Object) -> Any:
    versions = crd.get("spec", {}).get("versions", [])
    chosen: Object = next((item for item in versions if item["name"] == VERSION), {})
    return chosen.get("schema", {}).get("openAPIV3Schema", {})


def _of_this_release(check: str, theirs: Any) -> Finding:
    found = drift(_schema(definition()), theirs)
    if not found.any:
        return Finding(
            check, "ok", f"The schema of DeepSeekDeployment {VERSION} matches this command."
        )
    differences = [
        f"{description} {_some(fields)}"
        for description, fields in (
            ("missing", found.lacking),
            ("unknown to this command", found.unknown),
            ("different rules for", found.other),
        )
        if fields
    ]
    fix = (
        "Use the same release of operator, CRD and this command. Helm does not upgrade a CRD that it has "
        "not created: run kubectl apply --server-side -f crds/."
    )
    return Finding(
        check, "warning", f"The CRD is from another release: {'; '.join(differences)}.", fix
    )


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


CHECKS = (supported, knows_our_kind)
