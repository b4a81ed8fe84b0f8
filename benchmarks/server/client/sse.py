"""An incremental parser of server-sent events.

It follows the HTML standard, section 9.2.6, reduced to what language model servers send: the data
of each event. Comments and other fields are ignored.
"""


class EventReader:
    """Splits a body that arrives in pieces into events."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that this piece completes."""
        self._buffer += piece
        if b"\r" in self._buffer:
            # A trailing CR may be the first half of a CRLF.
            held = b"\r" if self._buffer.endswith(b"\r") else b""
            whole = self._buffer.removesuffix(held) if held else self._buffer
            self._buffer = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        *events, self._buffer = self._buffer.split(b"\n\n")
        found = (_data(event) for event in events)
        return [data for data in found if data is not None]


def _data(event: bytes) -> bytes | None:
    """Return the joined data lines of an event, None if it has none."""
    lines = [
        line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
