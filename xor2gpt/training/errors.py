"""The errors of the training loop.

Does: name them in one place and write the message of a run that diverged.
Does not: decide when to raise them.
"""

from __future__ import annotations

import math

__all__ = ["CheckpointError", "TrainingFailed", "TrainingInterrupted", "failure_message"]


class TrainingFailed(RuntimeError):
    """The loss, the gradient or a weight is NaN or infinite. ``step`` is the first bad step."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, or belongs to another model, data set or setting."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C: the loop has finished its step and, where it has a folder, saved a checkpoint."""


def _causes(loss: float, lr: float, grad_norm: float | None, precision: str) -> list[str]:
    """Likely causes of a number that is not finite, the likeliest first."""
    causes = [
        f"the learning rate ({lr:.3g}) is too high: try a tenth, a warm-up, or clip_norm=1.0",
        "a logarithm of 0, a division by 0 or a square root of 0 in the loss: "
        "use log_softmax or add a small epsilon",
        "NaN or infinity in the data: check torch.isfinite(x).all() for every input",
        "a mean over no element, such as a batch whose targets are all ignored",
    ]
    if grad_norm is not None and math.isfinite(loss) and not math.isfinite(grad_norm):
        causes.insert(
            1, "the gradient overflows although the loss is finite: look at sqrt and norm at 0"
        )
    if precision != "fp32":
        causes.append(f"too few digits in {precision}: try precision='fp32'")
    causes.append("a model or an input in fp16, which ends at 65,504: use float32 or bfloat16")
    return causes


def failure_message(
    what: str,
    step: int,
    *,
    loss: float,
    lr: float,
    grad_norm: float | None,
    precision: str,
    saved: str,
) -> str:
    """The text of a `TrainingFailed`: where, the numbers, likely causes, what is left on disk."""
    norm = "not measured" if grad_norm is None else f"{grad_norm:.4g}"
    lines = [
        f"{what} at step {step} (loss {loss:.4g}, learning rate {lr:.3g}, gradient norm {norm})."
    ]
    lines.append("Likely causes:")
    lines += [f"  - {cause}" for cause in _causes(loss, lr, grad_norm, precision)]
    lines.append(saved)
    return "\n".join(lines)
