"""Our GPT beside Hugging Face transformers' and, if a file is given, a nanoGPT-style model.

Does: measure CPU-seconds of a training step (forward, loss, backward, clipping, AdamW) and its peak
memory, and CPU-seconds of a generated token with and without cache, on one thread; in turns, in one
process, on the same weights and ids; check first that all models give the same loss or text.
Does not: use a GPU, compile, or train anything.

    python benchmarks/gpt.py                             # writes benchmarks/results/gpt/
    python benchmarks/gpt.py --nanogpt path/to/model.py  # beside a file with GPT and GPTConfig too
    python benchmarks/gpt.py step --shapes character --out my-results

Each side runs as its users run it: ours with our ``adamw`` (torch's, fused), transformers' with
torch's fused AdamW (its Trainer's default), nanoGPT's with its own ``configure_optimizers`` (fused
on GPUs only). ``model_ratio_…`` leaves the optimizer out. transformers computes the GELU of GPT-2
(tanh), nanoGPT the exact one: ours is compared with each in the same form.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports NumPy; children inherit it

import contextlib
import importlib.util
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from common import figure_lines, write_result  # noqa: E402  (after the path)

from xor2gpt.generation import generate  # noqa: E402
from xor2gpt.gpt import GPT, GPTConfig  # noqa: E402
from xor2gpt.optim import adamw  # noqa: E402
from xor2gpt.recipes.base import Figure  # noqa: E402

torch.set_num_threads(1)
logging.getLogger("transformers").setLevel(logging.ERROR)
app = typer.Typer(add_completion=False, help=__doc__.splitlines()[0])

TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@dataclass(frozen=True)
class Shape:
    """A model and a batch; ``steps`` in a turn, ``turns`` of each side."""

    title: str
    batch: int
    config: GPTConfig
    steps: int
    turns: int


SHAPES = {
    "character": Shape(
        "4 layers, 4 heads, 128 channels, 65 characters; 12 texts of 64 (nanoGPT's CPU recipe)",
        12,
        GPTConfig(vocab_size=65, context_length=64, n_layer=4, n_head=4, n_embd=128),
        steps=10,
        turns=9,
    ),
    "middle": Shape(
        "6 layers, 6 heads, 384 channels, 65 characters; 4 texts of 256",
        4,
        GPTConfig(vocab_size=65, context_length=256, n_layer=6, n_head=6, n_embd=384),
        steps=1,
        turns=7,
    ),
    "gpt2": Shape(
        "GPT-2 small, 50,257 tokens; 1 text of 128",
        1,
        GPTConfig.preset("gpt2", context_length=128),
        steps=1,
        turns=4,
    ),
}


# --- the three sides ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A model with the same weights as the others, its loss, and its optimizer."""

    model: torch.nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: Callable[[], torch.optim.Optimizer]


def _ours(config: GPTConfig) -> Side:
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    return Side(model, lambda ids, targets: model(ids, targets)[1], lambda: adamw(model, lr=1e-5))


def _transformers(config: GPTConfig) -> Side:
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(settings)
    model.load_state_dict(_ours(config).model.to_huggingface())
    model.train()

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, labels=targets, shift_labels=targets, use_cache=False).loss

    return Side(
        model,
        loss,
        lambda: torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), fused=True),
    )


def _nanogpt(config: GPTConfig, file: Path) -> Side:
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    if spec is None or spec.loader is None:
        raise typer.BadParameter(f"--nanogpt {file}: no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size
        spec.loader.exec_module(module)
        model = module.GPT(
            module.GPTConfig(
                block_size=config.context_length,
                vocab_size=config.vocab_size,
                n_layer=config.n_layer,
                n_head=config.n_head,
                n_embd=config.n_embd,
                dropout=0.0,
                bias=True,
            )
        )
    weights = _ours(config).model.to_huggingface()
    model.load_state_dict(
        {name: t.T.contiguous() if name.endswith(TURNED) else t for name, t in weights.items()}
    )

    def optimizer() -> torch.optim.Optimizer:
        with contextlib.redirect_stdout(io.StringIO()):
            return model.configure_optimizers(0.1, 1e-5, (0.9, 0.95), "cpu")

    return Side(model, lambda ids, targets: model(ids, targets)[1], optimizer)


def _sides(shape: Shape, nanogpt: Path | None) -> dict[str, Callable[[], Side]]:
    """Every side by name: ours stands beside each of the others in the other's kind of GELU."""
    exact = GPTConfig.from_dict({**shape.config.to_dict(), "activation": "gelu"})
    sides: dict[str, Callable[[], Side]] = {
        "ours (tanh)": lambda: _ours(shape.config),
        "transformers": lambda: _transformers(shape.config),
    }
    if nanogpt is not None:
        sides["ours (exact)"] = lambda: _ours(exact)
        sides["nanogpt"] = lambda: _nanogpt(exact, nanogpt)
    return sides


def _batch(shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = (shape.batch, shape.config.context_length + 1)
    ids = torch.randint(shape.config.vocab_size, size, generator=generator)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


# --- a training step ------------------------------------------------------------------------------


def _stepper(side: Side, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[bool], float]:
    """``step(with_optimizer) -> loss``."""
    optimizer = side.optimizer()

    def step(with_optimizer: bool = True) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = side.loss(*batch)
        loss.backward()
        if with_optimizer:
            torch.nn.utils.clip_grad_norm_(side.model.parameters(), 1.0)
            optimizer.step()
        return loss.item()

    return step


def _timed(work: Callable[[], Any], repeats: int) -> float:
    """CPU-seconds of one call, on the mean of ``repeats``."""
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def measure_steps(shape: Shape, nanogpt: Path | None) -> dict[str, dict[str, list[float]]]:
    """CPU-seconds of a step and of its part without the optimizer, by side, one value a turn."""
    batch = _batch(shape)
    steps = {name: _stepper(make(), batch) for name, make in _sides(shape, nanogpt).items()}
    losses = {name: step() for name, step in steps.items()}  # before any update: the same weights
    for ours, theirs in (("ours (tanh)", "transformers"), ("ours (exact)", "nanogpt")):
        if theirs in losses and abs(losses[ours] - losses[theirs]) > 1e-4:
            raise RuntimeError(f"not the same model: losses {losses}")
    found: dict[str, dict[str, list[float]]] = {name: {"step": [], "model": []} for name in steps}
    names = list(steps)
    for turn in range(shape.turns):
        order = names if turn % 2 == 0 else names[::-1]
        for name in order:
            step = steps[name]
            step()  # warm: the caches held another model
            found[name]["step"].append(_timed(step, shape.steps))
            found[name]["model"].append(_timed(lambda s=step: s(False), shape.steps))
    return found


def peak_memory(name: str, shape_name: str, nanogpt: Path | None) -> float:
    """MB that three steps need at most beyond the interpreter with its libraries (Linux)."""
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401  (the same imports for every side)

    def status(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(field))
        return int(line.split()[1]) / 1024

    shape = SHAPES[shape_name]
    batch = _batch(shape)
    torch.ones(8, 8) @ torch.ones(8, 8)  # the library's buffers are no model's
    before = status("VmRSS")
    step = _stepper(_sides(shape, nanogpt)[name](), batch)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # making the model does not count, holding it does
    for _ in range(3):
        step()
    return status("VmHWM") - before


def _peak_in_child(name: str, shape_name: str, nanogpt: Path | None) -> float:
    command = [sys.executable, __file__, "memory", name, shape_name]
    command += ["--nanogpt", str(nanogpt)] if nanogpt else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _ratios(found: dict[str, dict[str, list[float]]], part: str) -> dict[str, float]:
    """Our median over theirs, by the other side's name."""
    pairs = {"transformers": "ours (tanh)", "nanogpt": "ours (exact)"}
    return {
        theirs: median(found[ours][part]) / median(found[theirs][part])
        for theirs, ours in pairs.items()
        if theirs in found
    }


SHORT = {"transformers": "hf_sdpa", "nanogpt": "nanogpt"}


def _step_figures(
    name: str, found: dict[str, dict[str, list[float]]], memory: dict[str, float]
) -> list[Figure]:
    figures = []
    for other, ratio in _ratios(found, "step").items():
        figures.append(Figure(f"step_ratio_vs_{SHORT[other]}.{name}", ratio, "1"))
    for other, ratio in _ratios(found, "model").items():
        figures.append(Figure(f"model_ratio_vs_{SHORT[other]}.{name}", ratio, "1"))
    pairs = {"transformers": "ours (tanh)", "nanogpt": "ours (exact)"}
    for other in (side for side in pairs if side in memory):
        ratio = memory[pairs[other]] / memory[other]
        figures.append(Figure(f"memory_ratio_vs_{SHORT[other]}.{name}", ratio, "1"))
    for side, times in found.items():
        word = side.replace(" (", "_").rstrip(")")
        figures.append(Figure(f"step_ms.{word}.{name}", 1e3 * median(times["step"]), "ms"))
    return figures


NanoOption = Annotated[
    Path | None,
    typer.Option(
        "--nanogpt",
        metavar="FILE",
        help="A model.py with GPT, GPTConfig and configure_optimizers.",
        exists=True,
        dir_okay=False,
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Instead of benchmarks/results.")]


def run_steps(shapes: list[str], nanogpt: Path | None, out: Path | None) -> list[Figure]:
    """The training step on each shape; one result file."""
    began, cpu = time.perf_counter(), time.process_time()
    figures, measured = [], {}
    for name in shapes:
        found = measure_steps(SHAPES[name], nanogpt)
        memory = {side: _peak_in_child(side, name, nanogpt) for side in found}
        figures += _step_figures(name, found, memory)
        measured[name] = {
            "title": SHAPES[name].title,
            "cpu_seconds_of_turns": found,
            "peak_mb": memory,
        }
        typer.echo(figure_lines(figures[-len(_step_figures(name, found, memory)) :]))
    worst = {}
    for figure in figures:
        stem = figure.name.partition(".")[0]
        if "_ratio_" in stem and not stem.startswith("model_"):
            worst[stem] = max(worst.get(stem, 0.0), figure.value)
    totals = [Figure(stem, value, "1") for stem, value in worst.items()]
    beside = "transformers' GPT-2 with sdpa" + (" and nanoGPT's model" if nanogpt else "")
    write_result(
        "gpt",
        "step",
        description=(
            f"A training step (forward, loss, backward, clipping, AdamW) of our GPT beside {beside}"
            ": the same weights and ids, one thread, in turns in one process. CPU-seconds are "
            "medians over turns; ratios are ours over theirs, the total is the worst shape. "
            "model_ratio leaves clipping and optimizer out. Memory is the peak of three steps in a "
            "process of its own, less what the interpreter with its libraries holds."
        ),
        figures=[*totals, *figures],
        measured=measured,
        seconds={"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu},
        out=out,
    )
    return totals


# --- generation -----------------------------------------------------------------------------------


def run_generation(tokens: int, prompt: int, turns: int, out: Path | None) -> list[Figure]:
    """Greedy text from a GPT-2-small-shaped random model; one result file."""
    began, cpu = time.perf_counter(), time.process_time()
    config = GPTConfig.preset("gpt2")
    ours = GPT(config, generator=torch.Generator().manual_seed(0)).eval()
    theirs = _transformers(config).model.eval()
    ids = torch.randint(config.vocab_size, (1, prompt), generator=torch.Generator().manual_seed(2))

    def hf(number: int, cache: bool) -> list[list[int]]:
        with torch.inference_mode():
            made = theirs.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=number,
                use_cache=cache,
            )
        return made[:, prompt:].tolist()

    makers: dict[str, Callable[[int], list[list[int]]]] = {
        "ours, cache": lambda n: generate(ours, ids, n),
        "transformers, cache": lambda n: hf(n, True),
        "ours, no cache": lambda n: generate(ours, ids, n, use_cache=False),
    }
    texts = [make(24) for make in makers.values()]
    if texts[0] != texts[1] or texts[0] != texts[2]:
        raise RuntimeError(f"not the same text: {texts}")
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(turns):
        for name, make in makers.items():
            times[name].append(_timed(lambda m=make: m(tokens), 1))
    mid = {name: median(values) for name, values in times.items()}
    figures = [
        Figure("generate_speedup_cache", mid["ours, no cache"] / mid["ours, cache"], "1"),
        Figure("generate_ratio_vs_hf", mid["ours, cache"] / mid["transformers, cache"], "1"),
        Figure("tokens_per_cpu_second.ours", tokens / mid["ours, cache"], "1/s"),
        Figure("tokens_per_cpu_second.hf", tokens / mid["transformers, cache"], "1/s"),
        Figure("tokens_per_cpu_second.no_cache", tokens / mid["ours, no cache"], "1/s"),
    ]
    write_result(
        "gpt",
        "generation",
        description=(
            f"{tokens} greedy tokens after a prompt of {prompt} from a random model of GPT-2 "
            "small's shape, batch 1, float32, one thread; the same weights, in turns in one "
            "process, medians. All three give the same text."
        ),
        figures=figures,
        measured={"cpu_seconds_of_turns": times, "tokens": tokens, "prompt": prompt},
        seconds={"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu},
        out=out,
    )
    return figures


# --- the command line -----------------------------------------------------------------------------


@app.command()
def step(
    nanogpt: NanoOption = None,
    shapes: Annotated[list[str] | None, typer.Option(help="character, middle, gpt2.")] = None,
    out: OutOption = None,
) -> None:
    """The training step only."""
    unknown = set(shapes or ()) - set(SHAPES)
    if unknown:
        raise typer.BadParameter(f"--shapes {unknown}: known are {', '.join(SHAPES)}")
    typer.echo(figure_lines(run_steps(shapes or list(SHAPES), nanogpt, out)))


@app.command()
def generation(
    tokens: Annotated[int, typer.Option(help="Generated tokens.")] = 256,
    prompt: Annotated[int, typer.Option(help="Length of the prompt.")] = 16,
    turns: Annotated[int, typer.Option(help="Repeats of each side.")] = 3,
    out: OutOption = None,
) -> None:
    """Generation only."""
    typer.echo(figure_lines(run_generation(tokens, prompt, turns, out)))


@app.command(hidden=True)
def memory(name: str, shape: str, nanogpt: NanoOption = None) -> None:
    """The peak memory of one side (in a process of its own)."""
    typer.echo(json.dumps(peak_memory(name, shape, nanogpt)))


@app.callback(invoke_without_command=True)
def everything(context: typer.Context, nanogpt: NanoOption = None, out: OutOption = None) -> None:
    """Step and generation when no command is given."""
    if context.invoked_subcommand is None:
        typer.echo(figure_lines(run_steps(list(SHAPES), nanogpt, out)))
        typer.echo(figure_lines(run_generation(256, 16, 3, out)))


if __name__ == "__main__":
    app()
