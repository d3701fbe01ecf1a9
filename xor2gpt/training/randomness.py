"""Random numbers of a training run: seeds, and the state of every generator.

Does: seed torch, NumPy and Python at once; read and restore their states; derive independent
generators from (seed, purpose, number), so that "the 7th batch" is a pure function of its numbers.
Does not: promise equal numbers on another device or another version of torch.

Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3" (Philox).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = [
    "derived_seed",
    "permutation",
    "preserved_randomness",
    "random_state",
    "restore_random_state",
    "seed_everything",
]

_WORD = 2**64
_PURPOSES = {"order": 1, "phase": 2, "augment": 3}


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < _WORD:
        raise ValueError(f"seed must be an integer from 0 to 2**64 - 1, not {seed!r}")
    return int(seed)


def seed_everything(seed: int) -> None:
    """Seed torch (every device), NumPy's global generator and Python's ``random``."""
    seed = _checked_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (code of others may use the global generator)
    torch.manual_seed(seed % 2**63)


def philox(seed: int, purpose: str, number: int) -> np.random.Generator:
    """A generator of its own for (seed, purpose, number): Philox with the number as its counter."""
    key = np.array([_checked_seed(seed), _PURPOSES[purpose]], dtype=np.uint64)
    counter = np.array([0, 0, 0, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of ``n`` samples in an epoch, int64 ``(n,)``: a pure function of its arguments."""
    return philox(seed, "order", epoch).permutation(n)


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """A 63-bit seed for torch's generators from (seed, purpose, number)."""
    return int(philox(seed, purpose, number).integers(0, 2**63 - 1))


def random_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, words, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": {
            "kind": kind,
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "python": {
            "version": version,
            "words": torch.tensor(words, dtype=torch.int64),
            "gauss": gauss_next,
        },
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every global generator back to a state of `random_state`."""
    torch.set_rng_state(state["torch"].cpu())
    saved = state["numpy"]
    keys = saved["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        (saved["kind"], keys, saved["position"], saved["has_gauss"], saved["gauss"])
    )
    saved = state["python"]
    random.setstate((saved["version"], tuple(saved["words"].tolist()), saved["gauss"]))
    if "cuda" in state and torch.cuda.is_available():
        for index, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one.cpu(), index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Whatever happens inside, the global generators are afterwards where they were before."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
