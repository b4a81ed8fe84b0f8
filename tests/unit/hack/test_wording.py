"""The word list: which texts and names it finds."""

import pytest

from hack.wording import Rules, hits, read

RULES = Rules({"banned": "reported"}, {"private": "gpu_contention"}, ("*.lock",))


@pytest.mark.parametrize(
    "text", ["it is banned", "Banned once.", "was_banned = 1", "x.banned()", "bannedAt"]
)
def test_a_word_is_found_in_text_and_in_names(text: str) -> None:
    assert [hit.instead for hit in hits(text, RULES, code=False)] == ["reported"]


@pytest.mark.parametrize("text", ["unbanned", "bannedly", "a private name"])
def test_parts_of_words_and_names_in_prose_are_ignored(text: str) -> None:
    assert not list(hits(text, RULES, code=False))


@pytest.mark.parametrize("text", ["private = 1", "self._private", "private_of(x)"])
def test_a_private_name_is_found_in_code(text: str) -> None:
    assert [hit.word for hit in hits(text, RULES, code=True)] == ["private"]


def test_a_hit_names_its_line() -> None:
    assert [hit.line for hit in hits("one\nbanned\n", RULES, code=False)] == [2]


def test_files_of_the_skip_list_are_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.lock").write_text("banned")
    (tmp_path / "a.md").write_text("banned")
    assert [path for path, _ in read(["a.lock", "a.md", "gone.md"], RULES)] == ["a.md"]
