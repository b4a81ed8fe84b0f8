"""Manifests of a model's authentication and authorization, with Istio's security API."""

from typing import Any

from deepseek_operator.plan.traffic.authorization import API_PATHS, AuthorizationPlan, Caller, Token
from deepseek_operator.render.template import render

Manifest = dict[str, Any]


def manifests(authorization: AuthorizationPlan, values: dict[str, Any]) -> list[Manifest]:
    """Return the mesh policies of a model; empty if it is not in the mesh.

    Args:
        authorization: The authorization plan.
        values: Template values: `metadata`, and `serving`, the labels of the pods.
    """
    if not authorization.meshed:
        return []
    shared = {
        "authorization": authorization,
        "metadata": values["metadata"],
        "serving": values["serving"],
    }
    result = [render("peerauthentication.yaml.j2", **shared)]
    if not authorization.policies:
        return result
    if authorization.token:
        result.append(render("requestauthentication.yaml.j2", **shared))
    own = values["metadata"]["namespace"]
    sources = [_source(caller, own, authorization.token) for caller in authorization.callers]
    claims = authorization.token.claims if authorization.token else ()
    when = [
        {"key": f"request.auth.claims[{name}]", "values": accepted} for name, accepted in claims
    ]
    result.append(
        render("authorizationpolicy.yaml.j2", **shared, sources=sources, paths=API_PATHS, when=when)
    )
    return result


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
