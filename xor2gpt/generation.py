"""Write text with a language model, token by token.

Does: choose the next token greedily or by sampling (repetition penalty, temperature, top-k, top-p,
min-p, in this order); continue one prompt or a batch of unequal prompts, padded on the left; stop
at stop tokens; crop texts that outgrow the context; reuse keys and values of earlier tokens (a
cache), with the same result as without; hand out tokens as they come (`stream`).
Does not: search (beams), turn text into tokens, or drop finished texts from the batch.

Masks are boolean, True = a real token, which may be attended to. V = vocab_size.
Randomness comes from a generator: the same generator, prompts and settings give the same text.

Source: top-k: Fan et al. (2018), "Hierarchical neural story generation"; top-p: Holtzman et al.
(2020), "The curious case of neural text degeneration"; min-p: Nguyen et al. (2024), "Turning up the
heat"; repetition penalty: Keskar et al. (2019), "CTRL".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xor2gpt.attention import KVCache
from xor2gpt.gpt import GPT
from xor2gpt.training.evaluation import evaluation_mode

__all__ = [
    "GREEDY",
    "Sampling",
    "choose",
    "generate",
    "left_pad",
    "min_p",
    "repetition_penalty",
    "stream",
    "top_k",
    "top_p",
]


# --- what the logits go through -------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; ``temperature=0`` is greedy: the most likely token, always.

    ``None`` (and 1 for the penalty) switches a filter off. Raises ``ValueError`` out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0.0:
            raise ValueError(f"temperature={self.temperature!r} must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k!r} must be 1 or more (None: all tokens)")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= 1.0:
                raise ValueError(f"{name}={value!r} must lie in (0, 1] (None: off)")
        if not self.repetition_penalty > 0.0:
            raise ValueError(f"repetition_penalty={self.repetition_penalty!r} must be above 0")


GREEDY = Sampling(temperature=0.0)


def repetition_penalty(
    logits: Tensor, ids: Tensor, penalty: float, mask: Tensor | None = None
) -> Tensor:
    """``logits (B, V)`` with the tokens that occur in ``ids (B, T)`` made less likely.

    Positive logits are divided by ``penalty``, negative ones multiplied, once however often a token
    occurs. ``mask (B, T)``: True = a real token; padding does not count.
    """
    seen = torch.zeros_like(logits, dtype=torch.bool)
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    row, column = real.nonzero(as_tuple=True)
    seen[row, ids[row, column]] = True
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def top_k(logits: Tensor, k: int) -> Tensor:
    """All but the ``k`` largest of ``logits (…, V)`` set to −∞; equals of the k-th stay too."""
    smallest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest, float("-inf"))


def top_p(logits: Tensor, p: float) -> Tensor:
    """All but the smallest set of likely tokens that holds probability ``p`` set to −∞.

    Tokens are taken from the most likely on; the one that crosses ``p`` is kept, so one always is.
    ``logits`` is ``(…, V)``; each row is cut by itself.
    """
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probability = ordered.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability  # what the more likely ones hold
    dropped = torch.zeros_like(logits, dtype=torch.bool)
    dropped.scatter_(-1, order, before >= p)
    dropped.scatter_(-1, order[..., :1], torch.zeros_like(dropped[..., :1]))
    return logits.masked_fill(dropped, float("-inf"))


def min_p(logits: Tensor, p: float) -> Tensor:
    """Tokens less likely than ``p`` times the most likely one set to −∞; ``(…, V)``."""
    probability = logits.softmax(dim=-1)
    least = p * probability.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probability < least, float("-inf"))


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """The next token of each row: ``logits (B, V)`` → ``(B,)``.

    The penalty is not applied here: it needs the text (`repetition_penalty`).
    """
    logits = logits.float()
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, sampling.min_p)
    probability = logits.softmax(dim=-1)
    return torch.multinomial(probability, 1, generator=generator).squeeze(-1)


# --- batches of texts -----------------------------------------------------------------------------


def left_pad(
    prompts: Sequence[Sequence[int]] | Tensor, *, device: object = None
) -> tuple[Tensor, Tensor]:
    """``(ids (B, T), mask (B, T))`` of unequal prompts: zeros on the left, mask True = real.

    The padding is on the left so that every text's newest token is in the last column. Raises
    ``ValueError`` for an empty prompt.
    """
    rows = [torch.as_tensor(prompt, dtype=torch.long) for prompt in prompts]
    if not rows or any(row.dim() != 1 or not len(row) for row in rows):
        raise ValueError(
            "each prompt is a sequence of at least one token id; to start from nothing, give the "
            "token that begins a text (an end-of-text or newline token)"
        )
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = row
        mask[index, width - len(row) :] = True
    return ids.to(device), mask.to(device)


class _Reader:
    """What a model has read of a batch of texts: the window of columns, and its cache."""

    def __init__(self, model: GPT, cache: KVCache | None, keep: int) -> None:
        self.model, self.cache, self.keep = model, cache, keep
        self.start = 0  # the first column of the window

    @torch.inference_mode()
    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last place's logits ``(B, V)`` for all columns so far, ``(B, N)`` both."""
        begin = self.start
        if ids.shape[1] - begin > self.model.config.context_length:
            begin = ids.shape[1] - self.keep
        if self.cache is not None:
            if begin != self.start:
                self.cache.crop(0)  # the places of all tokens change: read the window again
            unread = begin + self.cache.length
        else:
            unread = begin
        self.start = begin
        window = mask[:, begin:]
        with evaluation_mode(self.model) if self.model.training else contextlib.nullcontext():
            logits, _ = self.model(
                ids[:, unread:],
                mask=None if bool(window.all()) else window,
                cache=self.cache,
                last_only=True,
            )
        return logits[:, -1]


def stream(
    model: GPT,
    prompts: Sequence[Sequence[int]] | Tensor,
    max_new_tokens: int,
    *,
    sampling: Sampling = GREEDY,
    stop_tokens: Iterable[int] = (),
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    crop_to: int | None = None,
) -> Iterator[list[int | None]]:
    """Continue each prompt; yields, step by step, one token for each text.

    ``prompts`` are sequences of token ids, or ``(B, T)``. A text ends with the first of
    ``stop_tokens``, which is still handed out; then ``None`` stands in its place, until all texts
    have ended or ``max_new_tokens`` were made. Dropout is off while the model reads.

    A text longer than the context is cropped to its last ``crop_to`` tokens (default: one whole
    context) and read again: by default at every further token, which costs a full pass each; half
    the context makes that rare. Raises ``ValueError`` for an empty prompt or a bad ``crop_to``.
    """
    context = model.config.context_length
    keep = context if crop_to is None else crop_to
    if not 1 <= keep <= context:
        raise ValueError(f"crop_to={crop_to!r} must lie in 1 … {context}, the model's context")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens!r} must be 0 or more")
    ids, mask = left_pad(prompts, device=model.token_embedding.weight.device)
    cache = None
    if use_cache:
        with torch.inference_mode():
            capacity = min(context, ids.shape[1] + max_new_tokens)
            cache = model.new_cache(len(ids), capacity)
    reader, stops = _Reader(model, cache, keep), frozenset(stop_tokens)
    going = [True] * len(ids)
    for _ in range(max_new_tokens):
        logits = reader.logits(ids, mask)
        if sampling.repetition_penalty != 1.0:
            logits = repetition_penalty(logits, ids, sampling.repetition_penalty, mask)
        chosen = choose(logits, sampling, generator)  # (B,)
        tokens = chosen.tolist()
        yield [token if on else None for token, on in zip(tokens, going, strict=True)]
        going = [on and token not in stops for token, on in zip(tokens, going, strict=True)]
        if not any(going):
            return
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]] | Tensor,
    max_new_tokens: int,
    *,
    sampling: Sampling = GREEDY,
    stop_tokens: Iterable[int] = (),
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    crop_to: int | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, without the prompt; the arguments are those of `stream`.

    A text that met a stop token ends with it.
    """
    made: list[list[int]] = [[] for _ in prompts]
    for step in stream(
        model,
        prompts,
        max_new_tokens,
        sampling=sampling,
        stop_tokens=stop_tokens,
        generator=generator,
        use_cache=use_cache,
        crop_to=crop_to,
    ):
        for text, token in zip(made, step, strict=True):
            if token is not None:
                text.append(token)
    return made
