"""Manifests of a model's authentication and authorization, with Istio's security API."""

from typing import Any

from deepseek_operator.plan.traffic.authorization import API_PATHS, Caller, Token, Trust
from deepseek_operator.render.template import render

Manifest = dict[str, Any]


def manifests(trust: Trust, values: dict[str, Any]) -> list[Manifest]:
    """Return the mesh policies of a model; empty if it is not in the mesh.

    Args:
        trust: The decided trust.
        values: Template values: `metadata`, and `serving`, the labels of the pods.
    """
    if not trust.meshed:
        return []
    given = {"trust": trust, "metadata": values["metadata"], "serving": values["serving"]}
    made = [render("peerauthentication.yaml.j2", **given)]
    if not trust.policies:
        return made
    if trust.token:
        made.append(render("requestauthentication.yaml.j2", **given))
    own = values["metadata"]["namespace"]
    sources = [_source(caller, own, trust.token) for caller in trust.callers]
    claims = trust.token.claims if trust.token else ()
    when = [{"key": f"request.auth.claims[{name}]", "values": said} for name, said in claims]
    made.append(
        render("authorizationpolicy.yaml.j2", **given, sources=sources, paths=API_PATHS, when=when)
    )
    return made


def _source(caller: Caller, own: str, token: Token | None) -> dict[str, Any]:
    """Return the source of an AuthorizationPolicy that matches a caller."""
    namespace = caller.namespace or own
    source: dict[str, Any] = (
        # "*" matches any trust domain.
        {"principals": [f"*/ns/{namespace}/sa/{account}" for account in caller.accounts]}
        if caller.accounts
        else {"namespaces": [namespace]}
    )
    return source | ({"requestPrincipals": [f"{token.issuer}/*"]} if token else {})
