"""The alphabet of byte-level tokenizers: a printable letter for every byte.

The published vocabularies follow GPT-2's rule: a byte that is printable in Latin-1 maps to itself,
and the others map to the letters from U+0100 on, in order.
"""


def _alphabet() -> dict[str, int]:
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(0x100) if byte not in printed)
    letters = {chr(byte): byte for byte in printed}
    return letters | {chr(0x100 + place): byte for place, byte in enumerate(others)}


# letter -> byte
BYTES = _alphabet()
