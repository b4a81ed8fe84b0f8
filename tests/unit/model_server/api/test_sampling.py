"""Sampling parameters, from HTTP through the real sampler to a real model.

What must come out is computed here from transformers' logits, by the plainest code there is.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import torch
from transformers import PreTrainedModel

from hack.models.families import FAMILIES
from tests.unit.model_server.api.test_generation import CHAT, post, stream
from tests.unit.model_server.models.stepping import generated, load, prompt

PROMPT = prompt(20)
GREEDY = {"model": "llama", "temperature": 0, "ignore_eos": True, "return_token_ids": True}
END = 1  # the tiny models' end token


@pytest.fixture(scope="module")
def model(tiny) -> PreTrainedModel:
    return load(tiny("llama"))


def complete(client: httpx.Client, **body: object) -> dict:
    """The only choice of a completion."""
    return post(client, "/v1/completions", **{**GREEDY, "prompt": PROMPT, **body})["choices"][0]


def greedy(
    model: PreTrainedModel, count: int, change: Callable[[torch.Tensor, list[int]], None]
) -> list[int]:
    """Return the greedy tokens after PROMPT; `change` gets the logits and the answer so far."""
    answer: list[int] = []
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([PROMPT + answer])).logits[0, -1].clone()
        change(logits, answer)
        answer.append(int(logits.argmax()))
    return answer


# Log probabilities


def expected_logprobs(model: PreTrainedModel, given: list[int], answer: list[int]) -> torch.Tensor:
    """Return the log probabilities of all tokens at each position, [answer, vocabulary]."""
    with torch.no_grad():
        logits = model(torch.tensor([given + answer])).logits[0, len(given) - 1 : -1]
    return logits.float().log_softmax(-1)


def near(values: list[float], expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(values), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_logprobs_of_chat_equal_those_of_a_forward_pass(server, model, temperature: float) -> None:
    body = {**GREEDY, "messages": CHAT, "max_tokens": 12, "temperature": temperature, "seed": 4}
    options = {"logprobs": True, "top_logprobs": 5}
    whole = post(server.client, "/v1/chat/completions", **body, **options)
    choice = whole["choices"][0]
    rows = expected_logprobs(model, whole["prompt_token_ids"], choice["token_ids"])
    spelled = [list(server.served.codec.token_bytes(token)) for token in range(rows.shape[1])]
    entries = choice["logprobs"]["content"]
    assert len(entries) == 12
    for entry, token, row in zip(entries, choice["token_ids"], rows, strict=True):
        assert entry["bytes"] == spelled[token]
        near([entry["logprob"]], row[[token]])
        likeliest = row.topk(5)
        tops = entry["top_logprobs"]
        assert [top["bytes"] for top in tops] == [spelled[other] for other in likeliest.indices]
        near([top["logprob"] for top in tops], likeliest.values)
    chunks = stream(server.client, "/v1/chat/completions", **body, **options)
    parts = [chunk["choices"][0].get("logprobs") for chunk in chunks]
    assert [entry for part in parts if part for entry in part["content"]] == entries


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_logprobs_of_completions_equal_those_of_a_forward_pass(
    server, model, temperature: float
) -> None:
    body = {"max_tokens": 12, "temperature": temperature, "seed": 4, "logprobs": 3}
    choice = complete(server.client, **body)
    rows = expected_logprobs(model, PROMPT, choice["token_ids"])
    logprobs = choice["logprobs"]
    near(logprobs["token_logprobs"], rows[range(12), choice["token_ids"]])
    for tops, token, row in zip(logprobs["top_logprobs"], choice["token_ids"], rows, strict=True):
        likeliest = row.topk(3).indices.tolist()
        # The chosen token is included, last if it is not among the most likely.
        others = [] if token in likeliest else [token]
        near(list(tops.values()), row[likeliest + others])


def test_logprobs_are_those_before_bias_and_penalties(client, model) -> None:
    changed = {"logit_bias": {"77": 100}, "repetition_penalty": 1.7, "presence_penalty": 1}
    choice = complete(client, **changed, max_tokens=3, logprobs=0)
    assert choice["token_ids"] == [77] * 3
    rows = expected_logprobs(model, PROMPT, choice["token_ids"])
    near(choice["logprobs"]["token_logprobs"], rows[:, 77])


# Bias and penalties


def test_a_bias_forces_a_token(client) -> None:
    assert complete(client, logit_bias={"77": 100}, max_tokens=5)["token_ids"] == [77] * 5
    sampled = complete(client, logit_bias={"77": 100}, max_tokens=5, temperature=1, seed=1)
    assert sampled["token_ids"] == [77] * 5


def test_a_bias_forbids_tokens(client, model) -> None:
    forbidden = sorted(set(complete(client, max_tokens=8)["token_ids"]))

    def forbid(logits: torch.Tensor, _: list[int]) -> None:
        logits[forbidden] -= 100

    bias = {str(token): -100 for token in forbidden}
    answer = complete(client, logit_bias=bias, max_tokens=8)["token_ids"]
    assert answer == greedy(model, 8, forbid)
    assert not set(answer) & set(forbidden)


@pytest.mark.parametrize(
    "penalties",
    [
        {"frequency_penalty": 1.2},
        {"frequency_penalty": -2.0},
        {"presence_penalty": 2.0},
        {"repetition_penalty": 1.6},
        {"repetition_penalty": 0.4},
        {"frequency_penalty": 0.7, "presence_penalty": -1.5, "repetition_penalty": 1.3},
    ],
)
def test_penalties_follow_their_definitions(client, model, penalties: dict[str, float]) -> None:
    def punish(logits: torch.Tensor, answer: list[int]) -> None:
        for token in {*PROMPT, *answer}:
            by = penalties.get("repetition_penalty", 1)
            logits[token] = logits[token] / by if logits[token] > 0 else logits[token] * by
        for token, count in Counter(answer).items():
            logits[token] -= count * penalties.get("frequency_penalty", 0)
            logits[token] -= penalties.get("presence_penalty", 0)

    answer = complete(client, **penalties, max_tokens=24)["token_ids"]
    assert answer == greedy(model, 24, punish)
    assert answer != complete(client, max_tokens=24)["token_ids"], "a penalty without an effect"


# Ends


def test_stop_tokens(client) -> None:
    answer = complete(client, max_tokens=12)["token_ids"]
    place = next(p for p in range(4, 12) if answer[p] not in answer[:p])
    stops = [answer[place], 639]
    for body in ({}, {"logprobs": 0}, {"presence_penalty": 1e-9}):
        stopped = complete(client, max_tokens=12, stop_token_ids=stops, **body)
        assert stopped["token_ids"] == answer[: place + 1]
        assert stopped["finish_reason"] == "stop"
    chunks = stream(
        client,
        "/v1/completions",
        **GREEDY,
        prompt=PROMPT,
        max_tokens=12,
        stop_token_ids=stops,
    )
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [t for choice in choices for t in choice["token_ids"]] == answer[: place + 1]
    # The stop token is not part of the text.
    before = complete(client, max_tokens=place)["text"]
    assert "".join(choice["text"] for choice in choices) == before


def test_no_end_before_min_tokens(client) -> None:
    eager = {"logit_bias": {str(END): 100}, "ignore_eos": False, "max_tokens": 12}
    assert complete(client, **eager)["token_ids"] == [END]
    patient = complete(client, **eager, min_tokens=5)
    assert (len(patient["token_ids"]), patient["finish_reason"]) == (6, "stop")
    assert [token for token in patient["token_ids"] if token == END] == [END]
    assert complete(client, **{**eager, "ignore_eos": True})["token_ids"] == [END] * 12


# In a batch


@contextmanager
def company(server, count: int) -> Iterator[None]:
    """Run other requests at the same time, and check that they run."""
    started = threading.Barrier(count + 1, timeout=60)
    enough = threading.Event()

    def talk(number: int) -> None:
        body = {"model": "llama", "max_tokens": 4000, "ignore_eos": True, "stream": True}
        given = {"prompt": prompt(5 + 3 * number), "seed": number, "temperature": 1.2}
        with httpx.stream(
            "POST", f"{server.url}/v1/completions", json={**body, **given}, timeout=60
        ) as response:
            for place, _ in enumerate(response.iter_lines()):
                if place == 0:
                    started.wait()
                if enough.is_set():
                    return

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        started.wait()
        yield
        assert server.served.engine.load.running == count
    finally:
        enough.set()
        for thread in threads:
            thread.join(60)


def test_a_seed_gives_the_same_answer_in_any_batch(server) -> None:
    sampled = {"temperature": 1.3, "top_p": 0.9, "top_k": 50, "seed": 11, "max_tokens": 16}
    punished = {**sampled, "frequency_penalty": 0.5, "logprobs": 2}
    alone = [complete(server.client, **body) for body in (sampled, punished)]
    with company(server, 8):
        together = [complete(server.client, **body) for body in (sampled, punished)]
    assert [c["token_ids"] for c in together] == [c["token_ids"] for c in alone]
    near(
        together[1]["logprobs"]["token_logprobs"],
        torch.tensor(alone[1]["logprobs"]["token_logprobs"]),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_concurrent_prompts_of_any_length_equal_generate(family: str, serve_family, tiny) -> None:
    prompts = [prompt(length) for length in (1, 30, 600)]
    body = {**GREEDY, "model": family, "max_tokens": 6}
    choices = post(serve_family(family).client, "/v1/completions", **body, prompt=prompts)[
        "choices"
    ]
    model = load(tiny(family))
    assert [c["token_ids"] for c in choices] == [generated(model, p, 6) for p in prompts]


def test_a_repeated_prompt_is_found_in_the_cache(client) -> None:
    body = {**GREEDY, "prompt": prompt(75), "max_tokens": 20}
    first, second = (post(client, "/v1/completions", **body) for _ in range(2))
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    # All full blocks of 16, without the last token, whose logits are needed.
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": 64}
    assert second["choices"] == first["choices"]
    longer = post(client, "/v1/completions", **{**body, "prompt": prompt(75) + prompt(40)})
    assert longer["usage"]["prompt_tokens_details"] == {"cached_tokens": 64}
