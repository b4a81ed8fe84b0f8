"""Tests of front proxy authentication: users of forwarded requests, and rejected clients."""

from typing import Any

import pytest

from deepseek_operator.custom_metrics.front_proxy import FrontProxy, StrangerError, User
from tests.unit.operator.custom_metrics.asking import CONFIG_MAP, front_proxy, peer


def test_the_user_is_read_from_the_api_servers_headers() -> None:
    user = front_proxy().user(
        peer("front-proxy"),
        [
            ("x-remote-user", "jane"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "b"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Extra-example.com%2fscope", "x"),
            ("X-Something", "else"),
        ],
    )
    groups = ("a", "b", "system:authenticated")
    assert user == User("jane", "7", groups, (("example.com/scope", ("x",)),))


@pytest.mark.parametrize(
    ("certificate", "headers", "words"),
    [
        (None, [("X-Remote-User", "system:admin")], "no client certificate"),
        (peer("kubelet"), [("X-Remote-User", "system:admin")], "not kubelet"),
        (peer("front-proxy"), [], "names no user"),
        (peer("front-proxy"), [("X-Remote-User", "")], "names no user"),
    ],
)
def test_other_clients_are_rejected_whatever_their_headers(
    certificate: Any, headers: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(StrangerError, match=words):
        front_proxy().user(certificate, headers)


def test_without_allowed_names_any_certificate_of_the_authority_is_accepted() -> None:
    unrestricted = FrontProxy.of(
        {"data": {**CONFIG_MAP["data"], "requestheader-allowed-names": "[]"}}
    )
    assert unrestricted is not None
    assert unrestricted.user(peer("any"), [("X-Remote-User", "jane")]).name == "jane"


def test_an_api_server_without_aggregation_has_no_front_proxy() -> None:
    assert FrontProxy.of({"data": {"client-ca-file": "PEM"}}) is None
