"""Score given answers by their likelihood: read the prompts once, then continue them side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from vipcli.engine import compat
from vipcli.engine.compat import quick_imports

with quick_imports():
    import torch

_MAX_BYTES = 2**30
"""About how much memory the answers that are read at once may take."""


class Option(NamedTuple):
    """An answer as the tokens that the model would generate."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    """The tokens of which any one may end it."""


class ReadPrompts(NamedTuple):
    """What a model made of prompts, a row each, padded on the left."""

    cache: Any
    mask: torch.Tensor
    logits: torch.Tensor
    """The scores of the token after each prompt."""


class OptionScore(NamedTuple):
    """The log-probabilities of an option."""

    tokens: tuple[float, ...]
    """Of each token, given those before it."""
    end: float
    """That the answer ends here, in any of the possible ways."""
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    """The likeliest tokens in the place of each, with their log-probabilities."""

    @property
    def sum(self) -> float:
        """The log-probability of the whole answer."""
        return math.fsum(self.tokens) + self.end

    @property
    def length(self) -> int:
        """The number of tokens, with the one that ends the answer."""
        return len(self.tokens) + 1

    @property
    def mean(self) -> float:
        """The mean log-probability of a token."""
        return self.sum / self.length


def read_prompts(model: Any, inputs: dict[str, Any]) -> ReadPrompts:
    """Read prompts, or what follows a prefix that the inputs hold as a key-value cache."""
    mask = inputs["attention_mask"]
    cache = inputs.get("past_key_values")
    known = 0 if cache is None else compat.cache_length(cache)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(
        **{
            **inputs,
            "input_ids": inputs["input_ids"][:, known:],
            "position_ids": positions[:, known:],
            "use_cache": True,
            "logits_to_keep": 1,
        }
    )
    return ReadPrompts(output.past_key_values, mask, output.logits[:, -1])


def score_options(
    model: Any,
    prompts: ReadPrompts,
    options: Sequence[Sequence[Option]],
    top: int = 0,
    halted: Callable[[], bool] = lambda: False,
) -> list[list[OptionScore]] | None:
    """Score the options of each prompt; None once `halted` returns true."""
    flat = [(row, option) for row, own in enumerate(options) for option in own]
    # Options of about the same length need little padding.
    order = sorted(range(len(flat)), key=lambda index: len(flat[index][1].ids))
    scores: dict[int, OptionScore] = {}
    for chunk in _chunks(model, prompts, flat, order):
        if halted():
            return None
        scores |= zip(chunk, _score_chunk(model, prompts, [flat[index] for index in chunk], top), strict=True)
    indexes = iter(range(len(flat)))
    return [[scores[next(indexes)] for _ in own] for own in options]


def _chunks(
    model: Any, prompts: ReadPrompts, flat: Sequence[tuple[int, Option]], order: Sequence[int]
) -> Iterator[list[int]]:
    """Cut the options, which are ordered by length, into groups that fit into the memory allowed."""
    prompt_bytes = compat.cache_bytes(prompts.cache) // len(prompts.mask)
    token_bytes = prompt_bytes // prompts.mask.shape[1]
    # Scores are computed once as the model's own type, and once as float32.
    token_bytes += 8 * model.config.get_text_config().vocab_size
    chunk: list[int] = []
    for index in order:
        length = len(flat[index][1].ids)
        if chunk and (len(chunk) + 1) * (prompt_bytes + length * token_bytes) > _MAX_BYTES:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def _score_chunk(
    model: Any, prompts: ReadPrompts, chunk: Sequence[tuple[int, Option]], top: int
) -> list[OptionScore]:
    """Score options in one forward pass, padded on the right."""
    device = prompts.mask.device
    rows = torch.tensor([row for row, _ in chunk])
    length = max(len(option.ids) for _, option in chunk)
    # The masked tokens may be any, but not that of a picture.
    ids = torch.tensor([[*option.ids, *option.ids[-1:] * (length - len(option.ids))] for _, option in chunk])
    lengths = torch.tensor([len(option.ids) for _, option in chunk])
    places = torch.arange(length)
    prompt_mask = prompts.mask[rows.to(device)]
    is_read = (places < lengths[:, None]).to(device, prompt_mask.dtype)
    output = model(
        input_ids=ids.to(device),
        attention_mask=torch.cat([prompt_mask, is_read], dim=1),
        position_ids=prompt_mask.sum(1, keepdim=True) + places.to(device),
        past_key_values=compat.select_rows(prompts.cache, rows),
        use_cache=True,
    )
    first = prompts.logits[rows.to(prompts.logits.device), None].to(output.logits.device)
    logits = torch.cat([first, output.logits], dim=1).float()
    return _scores(logits, [option for _, option in chunk], ids.to(logits.device), top)


def _scores(
    logits: torch.Tensor, options: Sequence[Option], ids: torch.Tensor, top: int
) -> list[OptionScore]:
    """Read the log-probabilities of options from the scores of all tokens, a row for each option."""
    normalizers = logits.logsumexp(-1)
    chosen = (logits[:, :-1].gather(2, ids[:, :, None])[:, :, 0] - normalizers[:, :-1]).tolist()
    likeliest = logits.topk(top).indices.tolist() if top else None
    scores = []
    for row, option in enumerate(options):
        length = len(option.ids)
        end = logits[row, length, list(option.ends)].logsumexp(0) - normalizers[row, length]
        tops = []
        for place, tokens in enumerate(likeliest[row][:length] if likeliest else ()):
            values = (logits[row, place, tokens] - normalizers[row, place]).tolist()
            tops.append(tuple(zip(tokens, values, strict=True)))
        scores.append(OptionScore(tuple(chosen[row][:length]), float(end), tuple(tops)))
    return scores
