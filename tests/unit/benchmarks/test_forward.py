"""The sequences of a measured step."""

from benchmarks.server.steps.forward import tokens


def test_sequences_differ_and_are_reproducible() -> None:
    """With 32 equal sequences a step would read the weights of 8 experts, not of 163."""
    made = [tokens(number, 40, 1000) for number in range(32)]
    assert len(set(made)) == 32
    assert len({text[-1] for text in made}) > 20
    assert made[3] == tokens(3, 40, 1000)
    assert all(0 <= token < 1000 for text in made for token in text)
