"""Incremental detokenization, always equal to decoding at once."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.engine.detokenizer import AnswerText, Detokenizer, StopFilter
from hack.models.tiny import make_tokenizer


def decode(token_ids) -> str:
    """Decode one byte per token: the hardest case for characters of several bytes."""
    return bytes(token_ids).decode(errors="replace")


def pieces(tokens) -> list[str]:
    detokenizer = Detokenizer(decode)
    return [*(detokenizer.push(token) for token in tokens), detokenizer.flush()]


@given(st.text(max_size=40))
def test_text_is_complete_without_partial_characters(text: str) -> None:
    parts = pieces(text.encode(errors="replace"))
    assert "".join(parts) == text.encode(errors="replace").decode()
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_invalid_bytes_decode_as_they_do_at_once(tokens: list[int]) -> None:
    assert "".join(pieces(tokens)) == decode(tokens)


@cache
def tokenizer():
    return make_tokenizer()


@given(st.lists(st.integers(0, 631), max_size=60))
def test_tokens_of_a_real_tokenizer(token_ids: list[int]) -> None:
    def decode(ids) -> str:
        return tokenizer().decode(list(ids), skip_special_tokens=True)

    detokenizer = Detokenizer(decode)
    parts = [*(detokenizer.push(token) for token in token_ids), detokenizer.flush()]
    assert "".join(parts) == decode(token_ids)


def test_a_character_is_held_back_until_it_is_complete() -> None:
    assert pieces("é".encode()) == ["", "é", ""]
    assert pieces("🚀".encode()[:3]) == ["", "", "", "\ufffd"]


def run_filter(parts: list[str], stop: list[str]) -> tuple[str, bool]:
    stop_filter, out = StopFilter(stop), ""
    for part in parts:
        out += stop_filter.push(part)
        if stop_filter.stopped:
            return out, True
    return out + stop_filter.flush(), False


def test_a_stop_string_across_pieces_is_cut_off() -> None:
    assert run_filter(["one <", "/e", "nd> two"], ["</end>"]) == ("one ", True)
    assert run_filter(["one <", "/e", "ne> two"], ["</end>"]) == ("one </ene> two", False)


def test_the_first_of_several_stop_strings_wins() -> None:
    assert run_filter(["abcdef"], ["ef", "cd"]) == ("ab", True)


def test_only_possible_stop_strings_are_held_back() -> None:
    stop_filter = StopFilter(["xyz"])
    assert stop_filter.push("abc") == "abc"
    assert stop_filter.push("dx") == "d"
    assert stop_filter.push("a") == "xa"


@given(
    st.lists(st.text("ab", max_size=4), max_size=10),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_piece_boundaries_do_not_matter(parts: list[str], stop: list[str]) -> None:
    whole = "".join(parts)
    cut = min((at for at in map(whole.find, stop) if at >= 0), default=None)
    text, stopped = run_filter(parts, stop)
    assert stopped == (cut is not None)
    if len(parts) == 1 or cut is None:
        assert text == whole[:cut]
    else:
        # A shorter stop string may be complete before a longer one that started earlier.
        assert whole.startswith(text)
        assert any(whole[len(text) :].startswith(s) for s in stop)


def test_no_stop_before_min_tokens() -> None:
    answer = AnswerText(decode, ["b"])
    assert answer.push(ord("b"), may_stop=False) == ("b", False)
    assert answer.push(ord("b")) == ("", True)
