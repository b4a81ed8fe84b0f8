"""Whom the API server speaks for, and how strangers are told."""

from typing import Any

import pytest

from deepseek_operator.custom_metrics.front_proxy import FrontProxy, StrangerError, User
from tests.unit.operator.custom_metrics.asking import CONFIG_MAP, front_proxy, peer


def test_the_user_stands_in_the_headers_of_the_api_server() -> None:
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
        (None, [("X-Remote-User", "system:admin")], "no certificate"),
        (peer("kubelet"), [("X-Remote-User", "system:admin")], "not kubelet"),
        (peer("front-proxy"), [], "for whom"),
        (peer("front-proxy"), [("X-Remote-User", "")], "for whom"),
    ],
)
def test_a_stranger_is_no_user_whatever_the_headers_say(
    certificate: Any, headers: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(StrangerError, match=words):
        front_proxy().user(certificate, headers)


def test_where_no_names_are_listed_the_authority_alone_decides() -> None:
    anybody = FrontProxy.of({"data": {**CONFIG_MAP["data"], "requestheader-allowed-names": "[]"}})
    assert anybody is not None
    assert anybody.user(peer("any"), [("X-Remote-User", "jane")]).name == "jane"


def test_an_api_server_without_aggregation_is_told_apart() -> None:
    assert FrontProxy.of({"data": {"client-ca-file": "PEM"}}) is None
