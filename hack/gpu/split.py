"""Compare a model on one GPU and on several: `python -m hack.gpu.split MODEL [GPUS]`.

Two servers run one after the other, on one and on several GPUs; both get the same requests and are
measured. Prints JSON: the differences of the first tokens' log probabilities, the number of answers
with the same beginning, and output tokens per second. Random weights cause near ties, so answers in
bfloat16 diverge at some point, as with any other order of summation.
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.server.client.prompts import Length
from benchmarks.server.client.workloads import Lengths, Workloads
from benchmarks.server.serving import Running, ours, running

PROMPTS = [list(range(first, first + length)) for first, length in ((9, 1), (50, 70), (300, 700))]
TOKENS = 16
LENGTHS = Lengths(Length(512), Length(128))


def first_tokens(server: Running) -> list[dict[str, Any]]:
    """Return greedy answers with the log probabilities of the candidates for the first token."""
    body = {
        "model": server.target.model,
        "prompt": PROMPTS,
        "max_tokens": TOKENS,
        "temperature": 0,
        "logprobs": 5,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.target.port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        choices: list[dict[str, Any]] = json.load(answer)["choices"]
    return choices


def measured(directory: Path, gpus: int, log: Path) -> dict[str, Any]:
    """Return the answers and the throughput of a server on `gpus` GPUs."""
    with running(ours(directory, "cuda", f"--tensor-parallel {gpus}"), log) as server:
        workloads = Workloads(server.target, vocabulary=50_000, context=4096)
        choices = first_tokens(server)
        rates = {}
        for at_once in (1, 32, 256):
            workloads.warm_up(at_once)
            figures = workloads.closed(at_once, 2 * at_once + 2, LENGTHS)
            rates[f"n{at_once}"] = figures["output_tokens_per_second"]
        return {
            "seconds to ready": server.ready - server.started,
            "rates": rates,
            "choices": choices,
        }


def main() -> None:
    directory, gpus = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with tempfile.TemporaryDirectory() as temporary:
        both = [measured(directory, n, Path(temporary) / f"{n}.log") for n in (1, gpus)]
    one, several = (result.pop("choices") for result in both)
    apart, alike = [], []
    for a, b in zip(one, several, strict=True):
        first, other = a["logprobs"]["top_logprobs"][0], b["logprobs"]["top_logprobs"][0]
        apart += [abs(first[token] - other[token]) for token in first.keys() & other.keys()]
        pairs = zip(a["token_ids"], b["token_ids"], strict=True)
        alike.append(next((n for n, (x, y) in enumerate(pairs) if x != y), TOKENS))
    result = {
        "gpus": gpus,
        "one": both[0],
        "several": both[1],
        "log probabilities apart at most": max(apart),
        "tokens alike": alike,
    }
    print(json.dumps(result, indent=1))
    if max(apart) > 0.1:
        raise SystemExit("the model computes different results on several GPUs")


if __name__ == "__main__":
    main()
