"""What callers have to prove, in the words of Istio's security API."""

from typing import Any

from deepseek_operator.plan.traffic.authorization import API_PATHS, Caller, Token, Trust
from deepseek_operator.render.template import render

Manifest = dict[str, Any]


def manifests(trust: Trust, values: dict[str, Any]) -> list[Manifest]:
    """The policies of a model: none where the mesh is not told anything.

    Args:
        trust: What was decided.
        values: What templates get: `metadata`, and `serving`, the labels of its pods.
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
    """Who a caller has to be, all of it at once."""
    namespace = caller.namespace or own
    source: dict[str, Any] = (
        # Whatever the mesh's trust domain is called.
        {"principals": [f"*/ns/{namespace}/sa/{account}" for account in caller.accounts]}
        if caller.accounts
        else {"namespaces": [namespace]}
    )
    return source | ({"requestPrincipals": [f"{token.issuer}/*"]} if token else {})
