"""Tiny models of real architectures, made on the spot.

A test must never need a download, and still has to run the real model code on real files. So this
writes a directory like a hub repository's: config.json, model.safetensors, generation_config.json,
a tokenizer trained on a page of text, and a chat template. Weights are random, from a seed per
tensor name, so the same family gives the same bytes on every run and every machine.
"""

import os
import zlib
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hack.models.families import CONTEXT, TOKENS, configuration

# DeepSeek's markers have full-width bars.
BEGIN, END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"  # noqa: RUF001
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"  # noqa: RUF001
SPECIAL_TOKENS = (BEGIN, END, USER, ASSISTANT)
# A page of English, Chinese, accents, code and emoji: some characters become one token and others
# fall apart into bytes, as in a real vocabulary.
CORPUS = Path(__file__).with_name("corpus.txt").read_text(encoding="utf-8").splitlines()
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")


def make_tiny(family: str, directory: Path, **fields: object) -> Path:
    """Write the tiny model of a family into a directory (made if missing) and return it.

    Args:
        family: its name.
        directory: where to write it.
        fields: what is different in its configuration.

    Raises:
        KeyError: there is no such family.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = configuration(family)
    config.update(fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(model, family)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=0, eos_token_id=1, do_sample=True, temperature=0.6, top_p=0.95
    )
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    for file in directory.iterdir():
        file.chmod(0o644)  # safetensors writes 0600, which a pod's user could not read
    return directory


def fill(model: PreTrainedModel, family: str) -> None:
    """Give every weight a value of its own, large enough that no two logits are near a tie."""
    tensors = dict(model.named_parameters())
    tensors |= {name: t for name, t in model.named_buffers() if name.endswith("correction_bias")}
    for name, tensor in tensors.items():
        seed = torch.Generator().manual_seed(zlib.crc32(f"{family}/{name}".encode()))
        noise = torch.randn(tensor.shape, generator=seed, dtype=torch.float32)
        if name.endswith("norm.weight"):
            values = 1 + 0.1 * noise
        elif name.endswith("tid2eid"):  # the experts of each token, all different
            values = noise.argsort()
        elif name.endswith("scale"):
            values = 1 + 0.1 * noise
        elif tensor.ndim == 1:
            values = 0.1 * noise
        elif "embed_tokens" in name:
            values = noise
        else:
            # Variance-preserving, a little above one, so that the signal survives every layer.
            values = 1.5 * noise / tensor.shape[-1] ** 0.5
        tensor.data.copy_(values)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that all tiny models share, trained anew."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
