"""Error responses of the endpoint, in the format of the model server."""

import json

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.local import answers
from deepseek_operator.local.view import Ended, ReplicaView
from deepseek_server.api import errors
from tests.unit.operator.local.views import view


def test_errors_have_the_format_of_the_model_server() -> None:
    for status in (404, 413, 503):
        assert answers.body(status, "m", "c") == errors.body(status, "m", code="c")


def test_refusals_have_a_code_and_a_retry_after() -> None:
    loading = ReplicaView(index=0, phase="loading", detail="loading x: 40 % of 1.0 GiB")
    reported = answers.not_ready(view(loading))
    assert (
        reported.message == "no replica of r1 is ready yet (replica 0: loading x: 40 % of 1.0 GiB)"
    )
    assert (reported.code, reported.retry_after) == ("not_ready", 5)
    assert (
        answers.not_ready(view(loading.model_copy(update={"seconds_left": 17}))).retry_after == 17
    )
    assert (
        answers.not_ready(view(loading.model_copy(update={"seconds_left": 999}))).retry_after == 60
    )
    assert answers.not_ready(view(loading, asked_to_end=True)).code == "shutting_down"
    ended = Ended(at="", code=3, words="exited with code 3")
    stopped = ReplicaView(index=0, phase="stopped", detail="Fix it.", ended=ended)
    assert answers.not_ready(view(stopped)).code == "no_replica"


@given(st.lists(st.text(alphabet="ab: ", max_size=9)), st.data())
def test_events_are_forwarded_whole_and_unchanged(texts: list[str], data: st.DataObject) -> None:
    stream = b"".join(f"data: {text}".encode() + b"\n\n" for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, sent = answers.Whole(), b""
    for piece in pieces:
        sent += whole.push(piece)
        # So an error event can follow at any time and stays readable.
        assert sent == b"" or sent.endswith(b"\n\n")
    assert sent == stream
    assert whole.rest() == b""


def test_an_error_is_the_last_event_of_a_stream() -> None:
    event = answers.event(answers.gone(1), "replica_ended")
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:])["error"]["message"].startswith("replica 1 exited while serving")
