"""xor2gpt.generation beside transformers' logits processors and texts; laws of the cache."""

import math
from collections import Counter

import pytest
import torch
from gpt_kit import OPTIONS, hf_gpt2, random_ids, small
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from typer.testing import CliRunner

from xor2gpt import generation
from xor2gpt.cli import app
from xor2gpt.generation import (
    GREEDY,
    Sampling,
    choose,
    generate,
    left_pad,
    min_p,
    repetition_penalty,
    stream,
    top_k,
    top_p,
)
from xor2gpt.gpt import GPT


def logits_of(seed: int, rows: int = 3, V: int = 20, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(rows, V, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- filters --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 25))
def test_top_k_is_transformers(seed, k):
    logits = logits_of(seed).round(decimals=1)  # with ties
    assert torch.equal(top_k(logits, k), TopKLogitsWarper(k)(None, logits))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.01, 0.999), spread=st.floats(0.1, 20))
def test_top_p_is_transformers(seed, p, spread):
    logits = logits_of(seed, spread=spread)
    assert torch.equal(top_p(logits, p), TopPLogitsWarper(p)(None, logits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.001, 1.0))
def test_min_p_is_transformers(seed, p):
    logits = logits_of(seed)
    assert torch.equal(min_p(logits, p), MinPLogitsWarper(p)(None, logits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0.5, 3.0), T=st.integers(1, 9))
def test_repetition_penalty_is_transformers(seed, penalty, T):
    logits, ids = logits_of(seed), random_ids(3, T, vocab_size=20, seed=seed)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    torch.testing.assert_close(repetition_penalty(logits, ids, penalty), expected)


def test_padding_is_no_repetition():
    logits, ids = torch.ones(1, 5), torch.tensor([[0, 0, 3]])
    mask = torch.tensor([[False, False, True]])
    assert repetition_penalty(logits, ids, 2.0, mask).tolist() == [[1, 1, 1, 0.5, 1]]


def test_top_p_by_hand():
    """Probabilities .5 .3 .15 .05: the token that crosses p is kept, each row is cut by itself."""
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    kept = top_p(logits, 0.6).isfinite()
    assert kept.tolist() == [[True, True, False, False], [False, False, True, True]]
    assert top_p(logits, 0.4).isfinite().sum(-1).tolist() == [1, 1]
    assert top_p(logits, 1e-9).isfinite().sum(-1).tolist() == [1, 1]
    assert top_p(logits, 1.0).isfinite().all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    temperature=st.floats(0.1, 3.0),
    k=st.none() | st.integers(1, 20),
    p=st.none() | st.floats(0.05, 1.0),
    m=st.none() | st.floats(0.01, 0.9),
)
def test_choose_draws_from_what_transformers_leaves(seed, temperature, k, p, m):
    """The same order of filters: temperature, top-k, top-p, min-p; the same draw of multinomial."""
    logits = logits_of(seed)
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    expected = expected if k is None else TopKLogitsWarper(k)(None, expected)
    expected = expected if p is None else TopPLogitsWarper(p)(None, expected)
    expected = expected if m is None else MinPLogitsWarper(m)(None, expected)
    drawn = torch.multinomial(expected.softmax(-1), 1, generator=seeded(seed))[:, 0]
    sampling = Sampling(temperature=temperature, top_k=k, top_p=p, min_p=m)
    assert torch.equal(choose(logits, sampling, seeded(seed)), drawn)


def test_draws_have_the_right_frequencies():
    """3,000 draws at temperature 2 from probabilities .64 .32 .04: √p, normalised."""
    logits = torch.tensor([[0.64, 0.32, 0.04]]).log().expand(3000, 3)
    drawn = Counter(choose(logits, Sampling(temperature=2.0), seeded()).tolist())
    roots = [math.sqrt(p) for p in (0.64, 0.32, 0.04)]
    for token, root in enumerate(roots):
        p = root / sum(roots)
        assert drawn[token] / 3000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 3000))


def test_greedy_and_extreme_settings_agree():
    logits = logits_of(1)
    best = logits.argmax(-1)
    for sampling in (GREEDY, Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(min_p=1.0)):
        assert torch.equal(choose(logits, sampling, seeded()), best)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"min_p": 1.5}, "min_p=1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
    ],
)
def test_settings_out_of_range_are_named(settings_, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings_)


# --- text -----------------------------------------------------------------------------------------


def by_hand(model: GPT, prompt: list[int], number: int, crop_to: int) -> list[int]:
    """Greedy text by the plainest loop: one whole pass a token, cropped beyond the context."""
    window, made = list(prompt), []
    for _ in range(number):
        if len(window) > model.config.context_length:
            window = window[-crop_to:]
        token = int(model(torch.tensor([window]))[0][0, -1].argmax())
        window.append(token)
        made.append(token)
    return made


@settings(max_examples=40, deadline=None)
@given(
    option=st.sampled_from(sorted(OPTIONS)),
    length=st.integers(1, 20),
    number=st.integers(0, 20),
    crop_to=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_with_cache_without_and_by_hand_beyond_the_context(option, length, number, crop_to, seed):
    model, prompt = small(**OPTIONS[option]), random_ids(1, length, seed=seed)
    expected = by_hand(model, prompt[0].tolist(), number, crop_to)
    assert generate(model, prompt, number, crop_to=crop_to) == [expected]
    assert generate(model, prompt, number, crop_to=crop_to, use_cache=False) == [expected]


@settings(max_examples=25, deadline=None)
@given(
    option=st.sampled_from(sorted(OPTIONS)),
    lengths=st.lists(st.integers(1, 15), min_size=2, max_size=4),
    cache=st.booleans(),
)
def test_a_batch_of_unequal_prompts_is_each_prompt_alone(option, lengths, cache):
    model = small(**OPTIONS[option])
    prompts = [random_ids(n, seed=n).tolist() for n in lengths]
    alone = [by_hand(model, prompt, 9, 12) for prompt in prompts]
    assert generate(model, prompts, 9, use_cache=cache) == alone


def test_repetition_penalty_is_that_of_transformers_in_whole_texts():
    theirs = hf_gpt2(seed=5)
    ours = GPT.from_huggingface(theirs.state_dict(), n_head=3)
    ids = random_ids(2, 4, seed=6)
    sampling = Sampling(temperature=0.0, repetition_penalty=1.7)
    expected = theirs.generate(ids, do_sample=False, max_new_tokens=8, repetition_penalty=1.7)
    assert generate(ours, ids, 8, sampling=sampling) == expected[:, 4:].tolist()
    assert generate(ours, ids, 8) != expected[:, 4:].tolist()  # it matters here


@pytest.mark.parametrize("cache", [True, False])
def test_the_same_seed_gives_the_same_text(cache):
    model, ids = small(), random_ids(2, 5)

    def texts(seed: int) -> list[list[int]]:
        sampling = Sampling(temperature=1.3, top_k=20, top_p=0.95, min_p=0.01)
        return generate(model, ids, 15, sampling=sampling, generator=seeded(seed), use_cache=cache)

    assert texts(1) == texts(1) != texts(2)


def test_stop_tokens_end_each_text_by_itself():
    model = small()
    prompts = [random_ids(3, seed=1).tolist(), random_ids(5, seed=2).tolist()]
    free = generate(model, prompts, 12)
    stop = free[0][3]
    ended = [t[: t.index(stop) + 1] if stop in t else t for t in free]
    assert generate(model, prompts, 12, stop_tokens=[stop]) == ended
    assert len(ended[0]) <= 4 < len(ended[1])
    steps = list(stream(model, prompts, 12, stop_tokens=[stop]))
    assert [step[0] for step in steps[len(ended[0]) :]] == [None] * (len(steps) - len(ended[0]))
    both = list(stream(model, prompts[:1], 12, stop_tokens=[stop]))
    assert len(both) == len(ended[0])  # it ends when all texts have


def test_the_stream_hands_out_tokens_one_by_one():
    model, ids = small(), random_ids(2, 4)
    reads = []
    handle = model.register_forward_hook(lambda *_: reads.append(1))
    tokens = stream(model, ids, 6)
    first = next(tokens)
    assert len(reads) == 1 and len(first) == 2
    rest = list(tokens)
    handle.remove()
    assert [list(text) for text in zip(first, *rest, strict=True)] == generate(model, ids, 6)


def test_a_cached_step_reads_one_token():
    model, ids = small(), random_ids(1, 4)
    widths = []
    handle = model.register_forward_hook(lambda m, given, out: widths.append(given[0].shape[1]))
    generate(model, ids, 5)
    generate(model, ids, 3, use_cache=False)
    handle.remove()
    assert widths == [4, 1, 1, 1, 1, 4, 5, 6]


def test_the_model_comes_back_as_it_was():
    model, ids = small(dropout=0.5).train(), random_ids(1, 4)
    texts = [generate(model, ids, 8) for _ in range(2)]
    assert texts[0] == texts[1]  # dropout was off
    assert model.training
    loss = model(ids, ids)[1]
    loss.backward()  # nothing of inference mode is left in the weights
    assert model.token_embedding.weight.grad is not None


def test_left_padding_and_bad_prompts():
    ids, mask = left_pad([[7], [1, 2, 3]])
    assert ids.tolist() == [[0, 0, 7], [1, 2, 3]]
    assert mask.tolist() == [[False, False, True], [True] * 3]
    for bad in ([], [[]], [[1], []]):
        with pytest.raises(ValueError, match="at least one token id"):
            generate(small(), bad, 1)
    with pytest.raises(ValueError, match="crop_to=13 must lie in 1 … 12"):
        generate(small(), [[1]], 1, crop_to=13)
    with pytest.raises(ValueError, match="max_new_tokens=-1"):
        generate(small(), [[1]], -1)


def test_public_names_exist():
    assert all(hasattr(generation, name) for name in generation.__all__)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved random model with its tokenizer: bytes, eight merges, an end-of-text token."""
    from xor2gpt.tokenizer import Tokenizer

    place = tmp_path_factory.mktemp("model")
    words = Tokenizer.train(
        "the king and the queen " * 9, vocab_size=265, special_tokens=["<|end|>"]
    )
    small(vocab_size=words.vocab_size, seed=3).save(place)
    words.save(place / "tokenizer.json")
    return place


def command(*arguments, text=None):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)], input=text)


def test_the_command_writes_the_models_text(folder):
    from xor2gpt.tokenizer import Tokenizer

    result = command(folder, "--prompt", "the king", "--tokens", 9, "--temperature", 0)
    assert result.exit_code == 0, result.output
    model, words = GPT.load(folder), Tokenizer.load(folder / "tokenizer.json")
    # beyond the context the command goes on from half of it
    [made] = generate(model, [words.encode("the king")], 9, crop_to=6)
    assert result.stdout == words.decode(made) + "\n"
    piped = command(folder, "--prompt", "-", "--tokens", 9, "--temperature", 0, text="the king")
    assert piped.stdout == result.stdout
    plain = command(folder, "-p", "the king", "-n", 9, "--temperature", 0, "--no-cache")
    assert plain.stdout == result.stdout


def test_the_command_repeats_with_its_seed(folder):
    runs = [command(folder, "-n", 12, "--number", 2, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    first, second = runs[0].split("--- 2 ---")
    assert first.startswith("--- 1 ---") and first.split("---")[-1] != second


def test_the_command_stops_at_a_token(folder):
    from xor2gpt.tokenizer import Tokenizer

    words, model = Tokenizer.load(folder / "tokenizer.json"), GPT.load(folder)
    with torch.no_grad():  # a model that always says "the", which is one token here
        model.token_embedding.weight.zero_()
        model.final_norm.weight.zero_()
        model.final_norm.bias.fill_(1.0)
        [the] = words.encode("the")
        model.token_embedding.weight[the] = 1.0
    model.save(folder / "the")
    words.save(folder / "the" / "tokenizer.json")
    assert command(folder / "the", "-n", 3, "--temperature", 0).stdout == "thethethe\n"
    stopped = command(folder / "the", "-n", 3, "--temperature", 0, "--stop", "the")
    assert stopped.stdout == "the\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--top-p", "2"], 2, "top_p=2.0 must lie in"),
        (["--stop", "xy"], 1, "--stop 'xy' is 2 tokens"),
        (["--tokenizer", "nowhere.json"], 1, "nowhere.json"),
    ],
)
def test_the_command_names_what_is_wrong(folder, arguments, code, message):
    result = command(folder, *arguments)
    assert result.exit_code == code and message in result.stderr


def test_the_command_needs_a_model_and_a_tokenizer(tmp_path):
    result = command(tmp_path / "none")
    assert result.exit_code == 1 and "config.json is not there" in result.stderr
    small().save(tmp_path)
    result = command(tmp_path)
    assert result.exit_code == 1 and "holds no tokenizer.json" in result.stderr
