"""xor2gpt.evaluate beside scikit-learn and scipy; the judge before servers that misbehave."""

import json
import math
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from gpt_kit import random_ids, small
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from xor2gpt import evaluate as ev
from xor2gpt.data.synthetic import instructions
from xor2gpt.evaluate.judge import (
    BadReply,
    JudgeError,
    JudgeServer,
    judge,
    judge_prompt,
    parse_score,
)
from xor2gpt.gpt import IGNORE

# --- intervals ------------------------------------------------------------------------------------


@given(n=st.integers(1, 400), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(n, share, confidence):
    k = round(share * n)
    found = ev.wilson(k, n, confidence)
    wanted = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx((k / n, wanted.low, wanted.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_of_the_usual_protocol():
    assert str(ev.wilson(287, 300)) == "0.9567 [0.9273, 0.9745]"
    assert ev.accuracy([1] * 287 + [0] * 13, [1] * 300) == ev.wilson(287, 300)
    for arguments in ((1, 0), (3, 2), (-1, 4)):
        with pytest.raises(ValueError, match="successes"):
            ev.wilson(*arguments)
    with pytest.raises(ValueError, match="confidence=95"):
        ev.wilson(1, 2, 95)


def test_the_bootstrap_covers_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        found = ev.bootstrap(np.mean, rng.normal(3, 2, size=60), seed=seed, resamples=200)
        covered += found.low <= 3 <= found.high
    assert 86 <= covered <= 99  # 95 % of 100, ± 4 standard deviations below


def test_accuracy_by_bootstrap_is_near_wilson_and_repeats():
    right = np.arange(300) >= 13
    found = ev.accuracy(right, np.ones(300), method="bootstrap", seed=1)
    assert found == ev.accuracy(right, np.ones(300), method="bootstrap", seed=1)
    assert found == pytest.approx(ev.wilson(287, 300), abs=0.01)


def test_copies_are_no_further_evidence():
    right = np.repeat(np.arange(30) % 3 > 0, 10).astype(int)  # 30 texts, ten copies of each
    groups = np.repeat(np.arange(30), 10)
    ones = np.ones(300, int)
    plain = ev.accuracy(right, ones, method="bootstrap")
    grouped = ev.accuracy(right, ones, method="bootstrap", groups=groups)
    assert plain.value == grouped.value
    ratio = (grouped.high - grouped.low) / (plain.high - plain.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.2)


def test_paired_columns_stay_pairs_and_undefined_resamples_are_left_out():
    x = np.arange(20.0)
    same = ev.bootstrap(lambda a, b: float(np.abs(a - b).max()), x, x, seed=0)
    assert same == (0, 0, 0)
    rare = ev.bootstrap(lambda a: 1.0 if a.any() else math.nan, [0, 0, 1], seed=0)
    assert rare == (1, 1, 1)
    never = ev.bootstrap(lambda a: math.nan, [0, 0], seed=0)
    assert all(map(math.isnan, never))


def test_intervals_refuse():
    for call, words in (
        (lambda: ev.bootstrap(np.mean, [], seed=0), "not 0"),
        (lambda: ev.bootstrap(np.mean, [1], [1, 2], seed=0), r"\[1, 2\]"),
        (lambda: ev.bootstrap(np.mean, [1], seed=0, resamples=0), "resamples=0"),
        (lambda: ev.bootstrap(np.mean, [1, 2], seed=0, groups=[1]), "1 groups for 2 rows"),
        (lambda: ev.accuracy([1], [1], method="exact"), "method='exact'"),
        (lambda: ev.accuracy([1], [1], groups=[0]), "knows no groups"),
        (lambda: ev.accuracy([[0.1, 0.9]], [1]), "class numbers and not scores"),
        (lambda: ev.mcnemar(-1, 2), "0 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@given(b=st.integers(0, 60), c=st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(b, c):
    wanted = binomtest(b, b + c).pvalue if b + c else 1.0
    assert ev.mcnemar(b, c) == pytest.approx(wanted, rel=1e-9)
    assert ev.mcnemar(b, c) == ev.mcnemar(c, b)


def test_a_paired_comparison_sees_what_two_intervals_hide():
    labels = np.ones(300, int)
    first, second = labels.copy(), labels.copy()
    first[:13] = 0
    second[:23] = 0  # wrong wherever the first is, and ten times more
    found = ev.compare(first, second, labels)
    assert (found.n, found.only_first, found.only_second) == (300, 10, 0)
    assert found.difference.value == pytest.approx(10 / 300)
    assert found.difference.low > 0 and found.p_value == pytest.approx(2 / 2**10)
    one, other = ev.accuracy(first, labels), ev.accuracy(second, labels)
    assert other.high > one.low  # yet the intervals overlap
    turned = ev.compare(second, first, labels)
    assert turned.difference.value == -found.difference.value
    same = ev.compare(first, first, labels)
    assert same.p_value == 1 and same.difference == (0, 0, 0)


# --- precision, recall, F1 ------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_precision_recall_and_f1_are_scikit_learns(pairs):
    found, truth = np.array(pairs).T
    scores = ev.precision_recall_f1(found, truth, positive=2, resamples=5)
    twin = metrics.precision_recall_fscore_support(
        truth == 2, found == 2, pos_label=True, average="binary", zero_division=math.nan
    )[:3]
    assert [scores.precision.value, scores.recall.value] == pytest.approx(twin[:2], nan_ok=True)
    assert scores.f1.value == pytest.approx(twin[2], nan_ok=True)
    assert sum(scores.counts) == len(pairs)


def test_scores_carry_intervals_and_nothing_is_nan():
    labels = np.array([1] * 100 + [0] * 900)
    found = np.array([1] * 90 + [0] * 10 + [1] * 30 + [0] * 870)
    scores = ev.precision_recall_f1(found, labels)
    assert scores.counts == (90, 30, 10, 870)
    assert scores.precision == ev.wilson(90, 120) and scores.recall == ev.wilson(90, 100)
    assert scores.f1.value == pytest.approx(180 / 220)
    assert 0.02 < scores.f1.value - scores.f1.low < 0.08
    assert 0.02 < scores.f1.high - scores.f1.value < 0.08
    none = ev.precision_recall_f1([0, 0], [0, 0])
    assert all(math.isnan(x) for x in (*none.precision, *none.recall, *none.f1))
    with pytest.raises(ValueError, match="give one for each"):
        ev.confusion([1, 0], [1])


# --- thresholds -----------------------------------------------------------------------------------

SCORED = st.lists(
    st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda rows: any(label for _, label in rows))


@settings(max_examples=50, deadline=None)
@given(rows=SCORED)
def test_the_curve_is_scikit_learns(rows):
    scores, labels = np.array(rows).T
    found = ev.precision_recall_curve(scores, labels)
    for ours, theirs in zip(found, metrics.precision_recall_curve(labels, scores), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    wanted = metrics.average_precision_score(labels, scores)
    assert ev.average_precision(scores, labels) == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(
    rows=SCORED,
    wish=st.sampled_from(["min_precision", "min_recall", "costs"]),
    level=st.floats(0, 1),
    cost=st.integers(0, 20),
)
def test_no_threshold_is_better_than_the_chosen_one(rows, wish, level, cost):
    scores, labels = np.array(rows)[:, 0], np.array(rows)[:, 1].astype(int)
    every = [np.inf, *np.unique(scores)]
    counts = [ev.confusion(scores >= t, labels) for t in every]
    value = (cost, 1) if wish == "costs" else level
    reachable = {
        "min_precision": [c for c in counts if c.precision >= level],  # nan compares false
        "min_recall": [c for c in counts if c.recall >= level and not math.isnan(c.precision)],
        "costs": counts,
    }[wish]
    if not reachable:
        with pytest.raises(ValueError, match="the most is"):
            ev.choose_threshold(scores, labels, **{wish: value})
        return
    chosen = ev.choose_threshold(scores, labels, **{wish: value})
    assert chosen.counts == ev.confusion(scores >= chosen.threshold, labels)
    if wish == "costs":
        losses = [cost * c.false_positive + c.false_negative for c in counts]
        mine = cost * chosen.counts.false_positive + chosen.counts.false_negative
        assert mine == min(losses)
    elif wish == "min_precision":
        assert chosen.counts.precision >= level
        assert chosen.counts.recall == max(c.recall for c in reachable)
    else:
        assert chosen.counts.recall >= level
        assert chosen.counts.precision == max(c.precision for c in reachable)


def test_the_dearer_a_lost_message_the_higher_the_threshold():
    scores = np.array([0.95, 0.9, 0.8, 0.6, 0.4, 0.2])
    labels = np.array([1, 1, 0, 1, 0, 0])
    cheap = ev.choose_threshold(scores, labels, costs=(1, 10))
    dear = ev.choose_threshold(scores, labels, costs=(10, 1))
    assert (cheap.threshold, dear.threshold) == (0.6, 0.9)
    assert ev.choose_threshold([0.9, 0.1], [0, 1], costs=(10, 1)).threshold == math.inf


def test_thresholds_refuse():
    for call, words in (
        (lambda: ev.choose_threshold([0.1], [1]), "exactly one"),
        (lambda: ev.choose_threshold([0.1], [1], min_recall=1, costs=(1, 1)), "exactly one"),
        (lambda: ev.choose_threshold([0.1], [0], min_recall=0.5), "no label is 1"),
        (lambda: ev.choose_threshold([0.1], [1], costs=(-1, 1)), "0 or more"),
        (lambda: ev.choose_threshold([0.9, 0.1], [0, 1], min_precision=0.9), "most is 0.5000"),
        (lambda: ev.precision_recall_curve([0.1, 0.2], [0, 0]), "recall is not defined"),
        (lambda: ev.precision_recall_curve([0.1, math.nan], [0, 1]), "nan or infinite"),
        (lambda: ev.precision_recall_curve([[0.1, 0.9]], [1]), "scores of the positive class"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# --- calibration ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=50),
    bins=st.integers(1, 12),
    strategy=st.sampled_from(["uniform", "quantile"]),
)
def test_the_reliability_table_is_scikit_learns(rows, bins, strategy):
    values, outcomes = np.array(rows).T
    found = ev.reliability(values, outcomes, bins=bins, strategy=strategy)
    frequency, mean = calibration_curve(
        outcomes, values, pos_label=1, n_bins=bins, strategy=strategy
    )
    np.testing.assert_allclose(found.frequency, frequency, atol=1e-12)
    np.testing.assert_allclose(found.confidence, mean, atol=1e-9)
    assert found.count.sum() == len(rows)


def test_the_calibration_error_by_hand():
    values = [0.05, 0.15, 0.95, 0.85, 0.9]
    outcomes = [0, 1, 1, 1, 0]
    # bins of 0.1: {0.05}, {0.15}, {0.85, 0.9}, {0.95}
    wanted = (0.05 + 0.85 + 2 * abs(0.5 - 0.875) + 0.05) / 5
    found = ev.reliability(values, outcomes)
    assert found.error == pytest.approx(wanted)
    assert ev.expected_calibration_error(values, outcomes) == pytest.approx(wanted)
    assert found.count.tolist() == [1, 1, 2, 1]
    lines = found.table().splitlines()
    assert lines[3].split() == ["0.800", "to", "0.900", "2", "0.875", "0.500"]
    assert lines[-1] == f"expected calibration error {wanted:.4f}"
    for arguments in ({"bins": 0}, {"strategy": "even"}):
        with pytest.raises(ValueError, match="bins="):
            ev.reliability(values, outcomes, **arguments)
    with pytest.raises(ValueError, match="give softmax's"):
        ev.reliability([1.5], [1])


def test_an_overconfident_model_is_found_out():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    outcomes = rng.uniform(size=20_000) < p
    assert ev.expected_calibration_error(p, outcomes) < 0.02
    sharp = p**3 / (p**3 + (1 - p) ** 3)
    assert ev.expected_calibration_error(sharp, outcomes) > 0.1


def test_top_labels_and_the_worst_cases():
    p = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]]
    labels = [1, 1, 0, 1]
    confidence, right = ev.top_label(p, labels)
    assert confidence.tolist() == [0.9, 0.8, 0.6, 0.55]
    assert right.tolist() == [False, True, True, False]
    assert ev.worst_cases(p, labels, 3).tolist() == [0, 3, 2]
    for call in (ev.top_label, ev.worst_cases):
        with pytest.raises(ValueError, match=r"need \(N, K\)"):
            call([0.9, 0.1], [1, 0])


# --- answers --------------------------------------------------------------------------------------


def test_normalising_and_exact_match():
    assert ev.normalise("  a \n b. ") == "a b" == ev.normalise("a b .")
    assert ev.normalise("A.", casefold=True, final_stop=False) == "a."
    assert ev.exact_match("GARDEN.", "GARDEN") and not ev.exact_match("garden", "GARDEN")
    assert ev.exact_match("garden", "GARDEN", casefold=True)
    assert ev.exact_match("cafe\u0301", "café")
    for wrong in ("4 or 5", "the answer is 4", "44", "", " ", None):
        assert not ev.exact_match(wrong, "4")
    assert not ev.exact_match("", "") and not ev.exact_match(None, "")


@given(answer=st.text(max_size=12), reference=st.text(min_size=1, max_size=12))
def test_exact_match_is_that_of_the_generated_tasks(answer, reference):
    if ev.normalise(answer) and answer.isascii() and reference.isascii():
        wanted = instructions.answer_is_right({"output": reference}, answer)
        assert ev.exact_match(answer, reference) == wanted


def test_unparsable_answers_are_wrong_and_stay_in_the_denominator():
    entries = [{"family": f, "output": o} for f, o in zip("aabb", "1234", strict=True)]

    def number(text):
        return text.split(":")[1] if ":" in text else (None if text == "?" else str(int(text)))

    report = ev.score_answers(entries, ["answer:1", "no number", None, "4"], parse=number)
    assert report.right == (True, False, False, True)
    assert report.unparsable == (False, True, True, False)
    assert report.accuracy == ev.wilson(2, 4)
    rows = report.rows()
    assert [(r["family"], r["n"], r["right"], r["unparsable"]) for r in rows] == [
        ("a", 2, 1, 1),
        ("b", 2, 1, 1),
        ("all", 4, 2, 2),
    ]
    assert (rows[0]["accuracy"], rows[0]["low"], rows[0]["high"]) == ev.wilson(1, 2)
    assert json.loads(json.dumps(rows)) == rows
    assert report.table().splitlines()[-1].split()[:5] == ["all", "4", "2", "2", "0.500"]
    assert ev.score_answers(entries, ["?", "2", " ", "4"], parse=number).unparsable == (
        *(True, False, True, False),
    )


def test_the_exact_answers_score_one_and_a_rule_can_be_given():
    entries = instructions.instructions(60, seed=2, split="test")
    answers = [str(entry["output"]) for entry in entries]
    report = ev.score_answers(entries, answers, right=instructions.answer_is_right)
    assert report.accuracy.value == 1 and set(report.families) == {e["family"] for e in entries}
    assert ev.score_answers(entries, answers[1:] + answers[:1]).accuracy.value < 0.2
    assert ev.score_answers([{"output": "x"}], ["x"]).families == ("all tasks",)
    for answers_ in (answers[1:], []):
        with pytest.raises(ValueError, match="is None, not left out"):
            ev.score_answers(entries, answers_)


def test_perplexity_weighs_tokens_not_batches():
    model = small()
    ids, targets = random_ids(3, 6), random_ids(3, 6, seed=1)
    targets[0, 1:] = IGNORE
    with torch.no_grad():
        wanted = math.exp(model(ids, targets)[1])
    split = [(ids[:1], targets[:1]), (ids[1:], targets[1:])]
    assert ev.perplexity(model, split) == pytest.approx(wanted, rel=1e-5)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert ev.perplexity(model, split) == pytest.approx(31, rel=1e-5)
    huge = small()
    with torch.no_grad():
        huge.final_norm.weight.mul_(1e6)
    assert ev.perplexity(huge, split) == math.inf


# --- judge: reading a score -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply, score",
    [
        ("85", 85),
        (" 85.\n", 85),
        ("72.5", 72.5),
        ("85/100", 85),
        ("Score: 85", 85),
        ("**Score:** 85 / 100", 85),
        ("The answer has 2 faults in 3 lines. Score: 40", 40),
        ("The score is 0", 0),
        ("I give it 100%", 100),
        ('{"score": 61, "faults": 3}', 61),
        ('```json\n{"score": 61.5}\n```', 61.5),
        ('{"score": "70"}', 70),
    ],
)
def test_scores_that_are_read(reply, score):
    assert parse_score(reply) == score


@pytest.mark.parametrize(
    "reply, words",
    [
        ("", "no number"),
        ("excellent", "no number"),
        ("version1 is v2", "no number"),
        ("1,000", "no number"),
        ("101", "not between"),
        ("Score: -5", "not between"),
        ("\u22125", "not between"),
        ('{"score": 1e9}', "not between"),
        ('{"score": NaN}', "not between"),
        ('{"score": true}', "no number"),
        ("8/10", "another scale"),
        ("between 60 and 70", "2 numbers"),
        ("score 10, or rather score 20", "2 numbers"),
    ],
)
def test_replies_without_a_score(reply, words):
    with pytest.raises(BadReply, match=words):
        parse_score(reply)


def test_another_scale_can_be_asked_for():
    assert parse_score("8/10", low=1, high=10) == 8
    with pytest.raises(BadReply, match="between 1 and 10"):
        parse_score("0", low=1, high=10)


@given(reply=st.text(alphabet="0123456789.,-/ {}\"':scoreSC\n", max_size=30))
def test_no_reply_breaks_the_reader(reply):
    with suppress(BadReply):
        assert 0 <= parse_score(reply) <= 100


# --- judge: a stub server -------------------------------------------------------------------------


def openai(content):
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


def ollama(content):
    return {"message": {"role": "assistant", "content": content}, "done": True}


class Stub:
    """A server in a thread; ``answer(number, request)`` gives (status, body, headers).

    A body is a str, or a callable that writes to the connection by itself.
    """

    def __init__(self, answer):
        self.answer, self.requests, self.headers = answer, [], []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers["Content-Length"])
                request = {"path": self.path, **json.loads(self.rfile.read(size))}
                stub.requests.append(request)
                stub.headers.append(dict(self.headers))
                status, body, headers = stub.answer(len(stub.requests) - 1, request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    if callable(body):
                        body(self.wfile)
                    else:
                        self.wfile.write(body.encode())
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up, as it should

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def served(answer):
    stub = Stub(answer)
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()


def replies(*contents, shape=openai):
    """One reply after another; the last again and again."""
    return lambda n, _: (200, json.dumps(shape(contents[min(n, len(contents) - 1)])), {})


def of(stub, **changes):
    return JudgeServer(stub.url, "stub", **{"timeout": 5.0, "retries": 2, **changes})


def test_openai_and_ollama_are_asked_in_their_own_words():
    with served(replies("7")) as stub:
        assert of(stub, api_key="secret", seed=3).ask("Grade this.") == "7"
        assert JudgeServer(f"{stub.url}/v1/", "stub").ask("x") == "7"
    first = stub.requests[0]
    assert first["path"] == stub.requests[1]["path"] == "/v1/chat/completions"
    assert first["messages"] == [{"role": "user", "content": "Grade this."}]
    assert (first["temperature"], first["seed"], first["stream"]) == (0, 3, False)
    assert stub.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in repr(of(stub, api_key="secret"))
    with served(replies("8", shape=ollama)) as stub:
        assert of(stub, api="ollama", max_tokens=9).ask("x") == "8"
    assert stub.requests[0]["path"] == "/api/chat"
    assert stub.requests[0]["options"] == {"temperature": 0, "seed": 0, "num_predict": 9}
    assert "Authorization" not in stub.headers[0]


def test_failures_that_pass_are_tried_again_with_growing_pauses():
    bodies = [(503, "busy", {}), (200, "<html>", {}), (200, "{}", {}), (429, "", {})]
    bodies += [(500, "", {"Retry-After": "7"}), (200, json.dumps(openai("5")), {})]
    pauses = []
    with served(lambda n, _: bodies[n]) as stub:
        assert of(stub, retries=5, backoff=0.5).ask("x", sleep=pauses.append) == "5"
    assert pauses == [0.5, 1, 2, 4, 8]  # 8 is longer than the 7 asked for
    pauses.clear()
    late = [(503, "", {"Retry-After": "7"}), (503, "", {"Retry-After": "9999"})]
    with served(lambda n, _: late[n] if n < 2 else (200, json.dumps(openai("5")), {})) as stub:
        assert of(stub, retries=5).ask("x", sleep=pauses.append) == "5"
    assert pauses == [7, 60]


@pytest.mark.parametrize(
    "body, words",
    [
        ("not json", "not openai's JSON"),
        ("[]", "not openai's JSON"),
        ('{"choices": []}', "not openai's JSON"),
        (json.dumps(openai(None)), "no text"),
        (json.dumps(openai([1])), "no text"),
        ("\xff\xfe", "not openai's JSON"),
        ("x" * (2**20 + 1), "more than 1048576 bytes"),
    ],
)
def test_garbage_is_given_up_after_the_retries(body, words):
    with (
        served(lambda n, _: (200, body, {})) as stub,
        pytest.raises(JudgeError, match=words),
    ):
        of(stub, retries=1).ask("x", sleep=lambda _: None)
    assert len(stub.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_a_refusal_is_told_at_once(status):
    with (
        served(lambda n, _: (status, "no such model", {})) as stub,
        pytest.raises(JudgeError, match=f"status {status}.*no such model"),
    ):
        of(stub).ask("x")
    assert len(stub.requests) == 1


def test_a_silent_and_a_trickling_server_time_out():
    stop = threading.Event()

    def silent(_):
        stop.wait(5)

    def trickle(stream):
        for _ in range(200):
            if stop.wait(0.03):
                break
            stream.write(b" ")

    for body in (silent, trickle):
        stop.clear()
        with served(lambda n, _, body=body: (200, body, {})) as stub:
            with pytest.raises(JudgeError, match="within 0.2 s"):
                of(stub, timeout=0.2, retries=1).ask("x", sleep=lambda _: None)
            stop.set()
        assert len(stub.requests) == 2


def test_nobody_there():
    with served(replies("1")) as stub:
        pass
    with pytest.raises(JudgeError, match="2 attempts.*Is the server running"):
        of(stub, retries=1).ask("x", sleep=lambda _: None)


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with served(replies("3")) as stub:
        assert of(stub, retries=0).ask("x") == "3"


def test_another_machine_only_if_allowed():
    with pytest.raises(ValueError, match="another machine"):
        JudgeServer("http://judge.example:8000", "m")
    assert JudgeServer("https://judge.example", "m", allow_remote=True).url.startswith("https")
    for arguments, words in (
        ({"base_url": "localhost:11434"}, "http://localhost"),
        ({"api": "grpc"}, "api='grpc'"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
    ):
        with pytest.raises(ValueError, match=words):
            JudgeServer(**{"base_url": "http://localhost:1", "model": "m", **arguments})


# --- judge: a whole set ---------------------------------------------------------------------------

ENTRIES = [{"instruction": f"Add {n} and 1.", "input": "", "output": str(n + 1)} for n in range(6)]
ANSWERS = [f"It is {n + 1}" for n in range(6)]


def by_question(n, request):
    """A judge whose score depends on the question alone: 10 × the first number in it."""
    question = request["messages"][0]["content"]
    return 200, json.dumps(openai(str(10 * int(question.split("Add ")[1].split()[0])))), {}


def run_judge(stub, path, **changes):
    arguments = {"sleep": lambda _: None, **changes}
    answers = arguments.pop("answers", ANSWERS)
    return judge(ENTRIES, answers, of(stub, retries=0), path, **arguments)


def test_every_answer_is_scored_in_order(tmp_path):
    path, seen = tmp_path / "new" / "scores.jsonl", []
    with served(by_question) as stub:
        report = run_judge(stub, path, progress=lambda *at: seen.append(at))
        assert report.scores == [0, 10, 20, 30, 40, 50] and report.mean == 25
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["index"] for line in lines] == list(range(6))
        assert seen == [(n, 6) for n in range(1, 7)]
        before = path.read_bytes()
        assert run_judge(stub, path) == report and len(stub.requests) == 6
        assert path.read_bytes() == before
    assert report.table().startswith("6 entries: 6 scored, 0 replies without a score, 0 without")


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    with served(by_question) as stub:
        whole = run_judge(stub, tmp_path / "whole.jsonl")
        data = (tmp_path / "whole.jsonl").read_bytes()
        lines = data.splitlines(keepends=True)
        part = tmp_path / "part.jsonl"
        for kept in (b"", lines[0], b"".join(lines[:3]) + lines[3][:25], data[:-1]):
            part.write_bytes(kept)
            asked = len(stub.requests)
            assert run_judge(stub, part) == whole
            assert len(stub.requests) - asked == 6 - kept.count(b"\n")
            assert part.read_bytes() == data  # the same file as without the kill


def test_an_interrupt_keeps_what_is_done(tmp_path):
    path = tmp_path / "scores.jsonl"

    def interrupt(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with served(by_question) as stub:
        with pytest.raises(KeyboardInterrupt):
            run_judge(stub, path, progress=interrupt)
        assert len(path.read_text().splitlines()) == 2
        assert run_judge(stub, path).scores == [0, 10, 20, 30, 40, 50]
    assert len(stub.requests) == 6


def test_a_changed_answer_is_asked_again(tmp_path):
    path = tmp_path / "scores.jsonl"
    with served(by_question) as stub:
        run_judge(stub, path)
        run_judge(stub, path, answers=[*ANSWERS[:5], "other"])
        assert len(stub.requests) == 7 and "other" in stub.requests[-1]["messages"][0]["content"]
        judge(ENTRIES, ANSWERS, of(stub, seed=1), path)
        assert len(stub.requests) == 13


def test_replies_without_a_score_are_counted_and_not_asked_for_ever(tmp_path):
    def garbage(n, request):
        status, body, headers = by_question(n, request)
        return status, json.dumps(openai("good")) if "Add 2" in str(request) else body, headers

    path = tmp_path / "scores.jsonl"
    with served(garbage) as stub:
        report = run_judge(stub, path)
        assert report.scores == [0, 10, None, 30, 40, 50]
        assert (report.n, report.unscored, report.failed) == (6, 1, 0)
        assert report.verdicts[2].reply == "good" and "no number" in report.verdicts[2].error
        assert report.mean == 26 and report.lowest_mean == pytest.approx(130 / 6)
        assert len(stub.requests) == 7  # the bad one twice
        assert run_judge(stub, path) == report and len(stub.requests) == 7


def test_a_second_question_may_bring_the_score(tmp_path):
    with served(replies("well", "88")) as stub:
        report = judge(ENTRIES[:1], ANSWERS[:1], of(stub), tmp_path / "scores.jsonl")
    assert report.scores == [88] and report.verdicts[0].error is None


def test_an_entry_the_server_fails_on_is_asked_again_later(tmp_path):
    broken = [True]

    def shaky(n, request):
        return (500, "", {}) if broken[0] and "Add 4" in str(request) else by_question(n, request)

    path = tmp_path / "scores.jsonl"
    with served(shaky) as stub:
        report = run_judge(stub, path)
        assert report.scores == [0, 10, 20, 30, None, 50] and report.failed == 1
        assert "status 500" in report.verdicts[4].error
        broken[0] = False
        report = run_judge(stub, path)
        assert report.scores == [0, 10, 20, 30, 40, 50] and len(stub.requests) == 7


def test_a_server_that_is_gone_stops_the_run(tmp_path):
    path = tmp_path / "scores.jsonl"
    with served(lambda n, r: by_question(n, r) if n < 2 else (503, "", {})) as stub:
        with pytest.raises(JudgeError, match="3 entries in a row"):
            run_judge(stub, path)
        assert len(stub.requests) == 5
    with served(by_question) as stub:
        assert run_judge(stub, path).scores == [0, 10, 20, 30, 40, 50]
        assert len(stub.requests) == 4
    with (
        served(lambda n, _: (404, "model not found", {})) as stub,
        pytest.raises(JudgeError, match="refused"),
    ):
        run_judge(stub, tmp_path / "other.jsonl")


def test_a_set_that_does_not_fit_is_refused(tmp_path):
    server = JudgeServer("http://localhost:9", "m")
    path = tmp_path / "scores.jsonl"
    for arguments, words in (
        ((ENTRIES, ANSWERS[1:], server, path), "5 answers to 6 entries"),
        ((ENTRIES, ANSWERS, server, path), "line 1 is no verdict"),
    ):
        path.write_text('{"something": "else"}\n')
        with pytest.raises(ValueError, match=words):
            judge(*arguments)
    with pytest.raises(ValueError, match="asks=0"):
        judge(ENTRIES, ANSWERS, server, path, asks=0)
    empty = judge([], [], server, tmp_path / "empty.jsonl")
    assert empty.n == 0 and math.isnan(empty.mean) and math.isnan(empty.lowest_mean)


def test_the_prompt_holds_task_reference_and_answer():
    entry = {"instruction": "Reverse.", "input": "abc", "output": "cba"}
    prompt = judge_prompt(entry, "bca")
    for part in ("Reverse.", "Input:\nabc", "cba", "==========\nbca\n==========", "0", "100"):
        assert part in prompt
    assert "Input:" not in judge_prompt({**entry, "input": ""}, "bca")
