"""A generated tokenizer of any vocabulary size.

It imitates the size and behaviour of a trained vocabulary: bytes as in every byte-level vocabulary,
and then the words " a", " b", ..., " aa", " ab", ..., each of which is one token in any context. A
prompt of n words is therefore n tokens, and every token that a model with random weights generates
is some text that a server has to send.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from benchmarks.server.client.words import word

BYTES = 256
SPACE = "Ġ"  # a space in byte-level vocabularies
# DeepSeek's markers have full-width bars.
BEGIN, END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"  # noqa: RUF001
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"  # noqa: RUF001
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    f"{ASSISTANT}{{{{ message['content'] }}}}{END}"
    "{% else %}"
    f"{{{{ '{USER}' if message['role'] == 'user' else '' }}}}{{{{ message['content'] }}}}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def write_tokenizer(directory: Path, size: int, special: Mapping[str, int]) -> None:
    """Write tokenizer.json and tokenizer_config.json.

    Args:
        directory: the target directory.
        size: size of the vocabulary; every id below it is a token.
        special: ids of BEGIN and END; USER and ASSISTANT get the following ids.
    """
    special = _with_roles(special, size)
    ids = [number for number in range(BYTES, size) if number not in special.values()]
    words = [word(number) for number in range(len(ids))]
    vocabulary = {letter: token for token, letter in enumerate(_alphabet())}
    vocabulary |= {SPACE + letters: token for letters, token in zip(words, ids, strict=True)}
    merges = [(SPACE + letters[:-1], letters[-1]) for letters in words]

    tokenizer = Tokenizer(models.BPE(vocabulary | dict(special), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, special[BEGIN])]
    )
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": BEGIN,
                "eos_token": END,
                "pad_token": END,
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
            },
            indent=2,
        )
    )


def _alphabet() -> list[str]:
    """Return the letters of all bytes in byte-level vocabularies."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _with_roles(special: Mapping[str, int], size: int) -> dict[str, int]:
    first = max(special.values()) + 1
    if first + 1 >= size:
        raise ValueError(f"no ids are left for {USER} and {ASSISTANT} below {size}")
    return {**special, USER: first, ASSISTANT: first + 1}
