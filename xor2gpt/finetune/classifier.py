"""A GPT that names a class: the body of a language model with a new head.

Does: put a linear head on the last real token, the first token or the mean of the real tokens;
freeze all but the head or the last block; give a loss with class weights that adds up over
batches; predict; write and read a fine-tuned model with its settings and a checksum.
Does not: train (`xor2gpt.training.Trainer` takes the model and `class_loss`), tokenise, or choose
a threshold (`xor2gpt.evaluate`).

Shapes: B texts, T tokens, C channels, K classes. Masks are boolean, True = a real token.

**Which token.** A causal model's place t has read the tokens up to t. So the last *real* token has
read the whole text; the first one has read itself and nothing else, and cannot tell two texts apart
that begin alike; the last *column* of a padded batch is padding for every text but the longest.

Source: Radford et al. (2018), "Improving language understanding by generative pre-training",
section 3.2 (a linear head on the last token's activation); Raschka (2024), chapter 6.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xor2gpt.attention import padding_mask
from xor2gpt.data.hashing import digest_of_file
from xor2gpt.finetune.collate import collate_classification
from xor2gpt.gpt import GPT, GPTConfig
from xor2gpt.training.evaluation import device_of, evaluation_mode

__all__ = [
    "ClassifierGPT",
    "Saved",
    "class_loss",
    "freeze",
    "load_finetuned",
    "predict",
    "save_finetuned",
]

Pooling = Literal["last", "first", "mean"]
Train = Literal["head", "last-block", "all"]


# --- the model ------------------------------------------------------------------------------------


class ClassifierGPT(nn.Module):
    """Token ids in, a score for each class out.

    The body is a copy: the language model given stays as it is. Its head over the vocabulary is
    left out (an untied one is dropped). The new ``head`` is linear with a bias, weights
    N(0, 0.02²) from ``generator``, biases 0, so that the first probabilities are near 1 / K.

    Args:
        gpt: the language model, pretrained or fresh.
        classes: the classes' names in the order of the logits, two or more different ones.
        pooling: what the head reads: the ``"last"`` or ``"first"`` real token, or the ``"mean"``
            of the real ones.
        dropout: before the head, in training mode.
    """

    def __init__(
        self,
        gpt: GPT,
        classes: Sequence[str] = ("ham", "spam"),
        *,
        pooling: Pooling = "last",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        if isinstance(classes, str) or len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes={classes!r}: give the names of two or more classes")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling={pooling!r}: known are {', '.join(get_args(Pooling))}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout!r} must lie in [0, 1)")
        self.pooling, self.dropout = pooling, dropout
        self.body = copy.deepcopy(gpt)
        if self.body.head is not None:
            self.body.head = None
            self.body.config = dataclasses.replace(gpt.config, tied=True)
        weight = self.body.token_embedding.weight
        self.head = nn.Linear(gpt.config.n_embd, len(self.classes)).to(weight.device, weight.dtype)
        with torch.no_grad():
            start = torch.randn(self.head.weight.shape, generator=generator)
            self.head.weight.copy_(0.02 * start)
            self.head.bias.zero_()

    @property
    def config(self) -> GPTConfig:
        """The body's configuration."""
        return self.body.config

    def features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """``ids (B, T)`` → the body's output after the final norm, ``(B, T, C)``.

        ``mask (B, T)``, True = real: needed for padding on the left only. On the right, no real
        token can see it (the model is causal), and the faster kernel without a mask is used.
        """
        return self.body.hidden(ids, mask)

    def forward(
        self, ids: Tensor, lengths: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """``ids (B, T)`` → logits ``(B, K)``.

        Say where the padding is: ``lengths (B,)`` counts the real tokens of texts padded on the
        *right*; ``mask (B, T)`` is True at real tokens, wherever the padding is. With neither,
        every token counts as real, padding included. Raises ``ValueError`` for both at once, for
        shapes that do not fit, and for a row of padding alone.
        """
        real = _real_tokens(ids, lengths, mask)  # (B, T)
        x = self.features(ids, None if mask is None else real)  # (B, T, C)
        x = _pool(x, real, self.pooling)  # (B, C)
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        return self.head(x)  # (B, K)

    def extra_repr(self) -> str:
        return f"classes={self.classes}, pooling={self.pooling!r}"


def _real_tokens(ids: Tensor, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
    """``(B, T)`` booleans, True = a real token; each row has one at least."""
    if ids.dim() != 2:
        raise ValueError(f"ids of shape {tuple(ids.shape)}: give (B, T), a row per text")
    B, T = ids.shape
    if lengths is not None and mask is not None:
        raise ValueError("give lengths (padding on the right) or a mask, not both")
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape != ids.shape:
            raise ValueError(
                f"a mask of shape {tuple(mask.shape)} and dtype {mask.dtype}: it needs booleans "
                f"({B}, {T}), True = a real token"
            )
        real = mask
    elif lengths is not None:
        if lengths.shape != (B,):
            raise ValueError(f"lengths of shape {tuple(lengths.shape)}: one per text, ({B},)")
        real = padding_mask(lengths.to(ids.device), T)
    else:
        real = torch.ones_like(ids, dtype=torch.bool)
    if not bool((full := real.any(dim=1)).all()):
        row = int((~full).nonzero()[0])
        raise ValueError(
            f"row {row} is padding alone: there is no token to classify. Leave empty texts out, or "
            "give them one token (end-of-text)"
        )
    return real


def _pool(x: Tensor, real: Tensor, pooling: Pooling) -> Tensor:
    """``x (B, T, C)`` at the last or first real token, or its mean over them: ``(B, C)``."""
    if pooling == "mean":
        share = real / real.sum(dim=1, keepdim=True)  # (B, T)
        return torch.einsum("bt,btc->bc", share.to(x.dtype), x)
    places = torch.arange(real.shape[1], device=real.device)  # (T,)
    if pooling == "last":
        chosen = places.masked_fill(~real, -1).amax(dim=1)  # (B,)
    else:
        chosen = places.masked_fill(~real, real.shape[1]).amin(dim=1)
    return x[torch.arange(len(x), device=x.device), chosen]


# --- what is trained ------------------------------------------------------------------------------


def freeze(model: ClassifierGPT | GPT, train: Train = "last-block") -> list[str]:
    """Switch gradients on for a part of the model and off for the rest; the names of that part.

    ======================  =================  ==========  ==========================
    ``train``               head               final norm  blocks and embeddings
    ======================  =================  ==========  ==========================
    ``"head"``              trained            frozen      frozen
    ``"last-block"``        trained            trained     the last block is trained
    ``"all"``               trained            trained     trained
    ======================  =================  ==========  ==========================

    The final norm goes with the last block, whose output it scales. Of a `GPT` whose head is tied
    the head *is* the token embedding: ``"last-block"`` leaves it frozen, ``"head"`` raises
    ``ValueError``. Gradients left over in frozen parameters are dropped, so that no optimizer moves
    them. Dropout of frozen blocks stays on in training mode.
    """
    if train not in get_args(Train):
        raise ValueError(f"train={train!r}: known are {', '.join(get_args(Train))}")
    body = model.body if isinstance(model, ClassifierGPT) else model
    if train == "head" and model.head is None:
        raise ValueError(
            "this model's head is tied to its token embedding and has no parameters of its own: "
            "train='last-block' or 'all'"
        )
    parts: list[nn.Module | None] = {
        "head": [model.head],
        "last-block": [model.head, body.final_norm, body.blocks[-1]],
        "all": [model],
    }[train]
    chosen = {id(p) for part in parts if part is not None for p in part.parameters()}
    names = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(id(parameter) in chosen)
        if parameter.requires_grad:
            names.append(name)
        else:
            parameter.grad = None
    return names


def class_loss(weights: Sequence[float] | None = None) -> Callable[..., tuple[Tensor, Tensor]]:
    """A loss for the trainer: ``loss(model, ids, lengths, labels) → (sum, count)``, in nats.

    With ``weights (K,)`` a text counts as the weight of its class, in the sum and in the count:
    their quotient over any batches is ``torch.nn.functional.cross_entropy(…, weight=weights)``.
    """
    table = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)

    def loss(
        model: nn.Module, ids: Tensor, lengths: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model(ids, lengths).float()  # (B, K)
        weight = None if table is None else table.to(logits.device)
        total = F.cross_entropy(logits, labels, weight=weight, reduction="sum")
        count = labels.new_tensor(len(labels)) if weight is None else weight[labels].sum()
        return total, count

    return loss


@torch.no_grad()
def predict(
    model: ClassifierGPT,
    sequences: Sequence[Sequence[int]],
    *,
    pad_id: int = 0,
    max_length: int | None = None,
    batch_size: int = 64,
) -> Tensor:
    """The class probabilities ``(N, K)`` of ``N`` texts of token ids, in their order, on the CPU.

    Texts longer than ``max_length`` (by default the model's context) lose their end. Batches are
    made of texts of like length; the padding changes nothing but the time. The model is in
    evaluation mode inside and in its own mode afterwards.
    """
    if not len(sequences):
        return torch.empty(0, len(model.classes))
    longest = model.config.context_length
    max_length = longest if max_length is None else min(max_length, longest)
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    rows = torch.empty(len(sequences), len(model.classes))
    with evaluation_mode(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids, lengths, _, _ = collate_classification(
                [sequences[index] for index in chosen], pad_id=pad_id, max_length=max_length
            )
            device = device_of(model)
            logits = model(ids.to(device), lengths.to(device)).float()
            rows[chosen] = logits.softmax(dim=-1).cpu()
    return rows


# --- files ----------------------------------------------------------------------------------------

_NOTE_FILE = "finetuned.json"
_WEIGHTS = "model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Saved:
    """What `load_finetuned` found: the model, the notes saved with it, the weights' checksum."""

    model: ClassifierGPT | GPT
    notes: dict[str, Any]
    sha256: str


def save_finetuned(
    model: ClassifierGPT | GPT,
    folder: str | Path,
    *,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write the model, its settings and a checksum into ``folder``; returns the folder.

    ``model.safetensors`` holds the weights (no pickle), ``finetuned.json`` the settings, ``notes``
    (plain data: where the data came from, the threshold, the template …) and the SHA-256 of the
    weights. A `GPT` also gets its ``config.json``, so that `GPT.load` and ``python -m xor2gpt
    generate`` read the folder. ``dtype=torch.bfloat16`` halves the file and rounds the weights.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"format": _FORMAT, "gpt": model.config.to_dict()}
    if isinstance(model, ClassifierGPT):
        settings |= {
            "kind": "classifier",
            "classes": list(model.classes),
            "pooling": model.pooling,
            "dropout": model.dropout,
        }
    else:
        settings |= {"kind": "language-model"}
        config = {"model_type": "xor2gpt", **settings["gpt"]}
        _write(folder / "config.json", config)
    settings["notes"] = dict(notes or {})
    json.dumps(settings)  # refuses what is no plain data before anything is written
    part = folder / f"{_WEIGHTS}.part"
    save_file(
        {name: t.detach().cpu().to(dtype or t.dtype).contiguous() for name, t in _state(model)},
        part,
    )
    settings["sha256"] = digest_of_file(part, "sha256:x")
    part.replace(folder / _WEIGHTS)
    _write(folder / _NOTE_FILE, settings)
    return folder


def _state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return list(model.state_dict().items())


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", "utf-8")
    part.replace(path)


def load_finetuned(folder: str | Path, *, sha256: str | None = None) -> Saved:
    """The model that `save_finetuned` wrote, in float32 and evaluation mode, all of it trainable.

    The weights are read only if their checksum is the one in ``finetuned.json`` (and ``sha256``,
    if given: the published one, for a folder that came from elsewhere). Raises
    ``FileNotFoundError``, or ``ValueError`` that names the file and the remedy.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in (_NOTE_FILE, _WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is not there: no folder that save_finetuned wrote"
            )
    try:
        settings = json.loads((folder / _NOTE_FILE).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / _NOTE_FILE} is damaged ({error}): save again") from error
    if settings.get("format") != _FORMAT:
        raise ValueError(
            f"{folder / _NOTE_FILE} has format {settings.get('format')!r}, this version of xor2gpt "
            f"reads {_FORMAT}"
        )
    found = digest_of_file(folder / _WEIGHTS, "sha256:x")
    for wanted, source in ((settings.get("sha256"), _NOTE_FILE), (sha256 or found, "the caller")):
        if found != wanted:
            raise ValueError(
                f"{folder / _WEIGHTS} has SHA-256 {found}, {source} says {wanted}: the file is "
                "damaged or another one; restore a copy or save again"
            )
    try:
        model: ClassifierGPT | GPT = GPT(GPTConfig.from_dict(settings["gpt"]))
        if settings["kind"] == "classifier":
            names = {name: settings[name] for name in ("classes", "pooling", "dropout")}
            model = ClassifierGPT(model, **names)
        tensors = load_file(folder / _WEIGHTS)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{folder} holds no model that fits its settings: {error}") from error
    return Saved(model.eval(), settings["notes"], found)
