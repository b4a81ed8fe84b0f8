"""Links between files of the repository, as pages of the site have them."""

from types import SimpleNamespace
from typing import Any

import pytest

from hack import site


def on_page(uri: str, markdown: str) -> str:
    """The markdown of a page of the site, its links changed."""
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=uri))
    nothing: Any = None
    return site.on_page_markdown(markdown, page, nothing, nothing)


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("index.md", "docs/status.md", "status.md"),
        ("index.md", "docs/guides/local.md#the-endpoint", "guides/local.md#the-endpoint"),
        ("contributing.md", "SECURITY.md", "security.md"),
        ("status.md", "rollout.md#gitops", "rollout.md#gitops"),
        ("install.md", "../charts/deepseek-operator/README.md", "chart.md"),
        ("guides/routing.md", "../../README.md#read-on", "../index.md#read-on"),
        (
            "decisions/0005-own-engine.md",
            "../../CONTRIBUTING.md#recipes",
            "../contributing.md#recipes",
        ),
        ("chart.md", "../../docs/install.md", "install.md"),
        ("install.md", "../examples/pvc.yaml", "files/examples/pvc.yaml"),
        ("guides/routing.md", "../../examples/routing/", "../files/examples/routing/index.md"),
    ],
)
def test_a_link_between_files_becomes_one_between_pages(page: str, link: str, becomes: str) -> None:
    assert on_page(page, f"See [this]({link}).") == f"See [this]({becomes})."


@pytest.mark.parametrize("link", ["https://example.com/README.md", "#read-on", "../nothing.yaml"])
def test_any_other_link_stays(link: str) -> None:
    assert on_page("install.md", f"[a]({link})") == f"[a]({link})"


def test_a_link_in_a_block_of_code_stays() -> None:
    block = "```\n[a](../README.md)\n```\n"
    assert on_page("cli.md", f"{block}[a](../README.md)\n") == f"{block}[a](index.md)\n"
