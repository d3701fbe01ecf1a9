"""Prompt templates: an instruction as the text a model goes on from, and its answer cut out again.

Does: write an entry (``instruction``, ``input``, ``output``) in Alpaca's format or in a short chat
format; encode prompt and response; find where a response starts; cut a response out of a text.
Does not: hold conversations of several turns, or defend against an entry that contains a marker
itself (give `extract_response` the prompt, and it does not matter).

A prompt ends where the response begins, so training and generation see the same tokens: prompt and
response are encoded **apart**. Encoded together, a byte-pair tokenizer may merge across the seam
(two newlines become one token, or not), and the model meets prompts in use that it never saw in
training.

Source: the Alpaca wording is that of Taori et al. (2023), github.com/tatsu-lab/stanford_alpaca
(Apache-2.0), with a line break after the last heading, as in Raschka (2024); the roles
``<|user|>`` and ``<|assistant|>`` are those of Phi-3 [Abdin et al., 2024].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "ALPACA",
    "CHAT",
    "TEMPLATES",
    "Template",
    "encode_example",
    "extract_response",
    "response_start",
]

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Template:
    """How an entry becomes a prompt.

    Attributes:
        name: its key in `TEMPLATES`.
        with_input, without_input: texts with the fields ``{instruction}`` and ``{input}``; the
            second is used where the entry's input is missing or blank. Both end with ``marker``.
        marker: after it the response begins.
        stops: what a model writes when it goes on with a next turn: the response ends before.
    """

    name: str
    with_input: str
    without_input: str
    marker: str
    stops: tuple[str, ...]

    def __post_init__(self) -> None:
        for text in (self.with_input, self.without_input):
            if not text.endswith(self.marker):
                raise ValueError(f"the template {self.name!r} must end with {self.marker!r}")

    def prompt(self, entry: Mapping[str, Any]) -> str:
        """The text up to and with the marker; the entry needs an ``instruction``, else KeyError."""
        if "instruction" not in entry:
            raise KeyError(f"an entry needs an 'instruction'; this one has {sorted(entry)}")
        given = str(entry.get("input") or "")
        template = self.with_input if given.strip() else self.without_input
        # One pass: braces and field names inside the entry's own text stay as they are.
        before, _, after = template.partition("{instruction}")
        middle = after.replace("{input}", given) if given.strip() else after
        return f"{before}{entry['instruction']}{middle}"


ALPACA = Template(
    name="alpaca",
    with_input=(
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
    ),
    without_input=(
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n"
    ),
    marker="### Response:\n",
    stops=("### Instruction:", "### Input:", "### Response:", END_OF_TEXT),
)
CHAT = Template(
    name="chat",
    with_input="<|user|>\n{instruction}\n{input}\n<|assistant|>\n",
    without_input="<|user|>\n{instruction}\n<|assistant|>\n",
    marker="<|assistant|>\n",
    stops=("<|user|>", "<|end|>", END_OF_TEXT),
)
TEMPLATES: dict[str, Template] = {template.name: template for template in (ALPACA, CHAT)}


class _Encoder(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


def encode_example(
    tokenizer: _Encoder, entry: Mapping[str, Any], template: Template = ALPACA
) -> tuple[list[int], list[int]]:
    """``(prompt ids, response ids)`` of an entry, for `collate_instructions`.

    The response is the entry's ``output`` without white space at its ends. Special tokens in the
    text are encoded as plain signs: an entry cannot forge an end of text.
    """
    response = str(entry["output"]).strip()
    prompt = template.prompt(entry)
    return list(tokenizer.encode_ordinary(prompt)), list(tokenizer.encode_ordinary(response))


def response_start(whole: str | Sequence[int], marker: str | Sequence[int]) -> int:
    """Where the response begins: the place after the *first* ``marker``, in a text or in ids.

    The first, since a model may write the marker again, but the prompt had it before. Raises
    ``ValueError`` where there is none, and for an empty marker.
    """
    if not len(marker):
        raise ValueError("an empty marker is found everywhere: give the template's marker")
    if isinstance(whole, str) and isinstance(marker, str):
        place = whole.find(marker)
    else:
        whole, marker = list(whole), list(marker)
        starts = range(len(whole) - len(marker) + 1)
        place = next((i for i in starts if whole[i : i + len(marker)] == marker), -1)
    if place < 0:
        raise ValueError(f"there is no {marker!r} here: was this made with another template?")
    return place + len(marker)


def extract_response(text: str, *, prompt: str | None = None, template: Template = ALPACA) -> str:
    """The response alone, without white space at its ends, out of prompt + continuation.

    With ``prompt`` its length decides where the response begins (safe whatever the prompt says);
    without, the template's first marker does. The response ends at end-of-text or where the
    next turn starts (``template.stops``). Raises ``ValueError`` for a text that does not begin with
    the prompt, or without a marker.
    """
    if prompt is None:
        start = response_start(text, template.marker)
    elif text.startswith(prompt):
        start = len(prompt)
    else:
        raise ValueError(f"the text does not begin with the prompt: it begins {text[:40]!r}")
    found = text[start:]
    ends = [found.find(stop) for stop in template.stops if stop in found]
    return found[: min(ends, default=len(found))].strip()
