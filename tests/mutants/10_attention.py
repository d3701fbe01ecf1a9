"""Wrong and odd-but-right answers for stage 10. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

AVERAGE = ["causal-average-check-1"]
WEIGHTS, CONTEXT, STABLE = (f"attention-check-{k}" for k in ("weights", "context", "stable"))
FUTURE, VALUES = "causal-check-future", "causal-check-values"
PADDING, EMPTY = "masked-softmax-check-padding", "masked-softmax-check-empty"
SCALE, EVAL = "dropout-check-scale", "dropout-check-eval"
SPLIT, MERGE = "heads-check-split", "heads-check-merge"
ONE, MANY, CAUSAL = (f"multi-head-check-{k}" for k in ("one", "many", "causal"))
BUG_SCALE, BUG_MASK, BUG_HEADS = (f"bug-check-{k}" for k in ("scale", "mask", "heads"))
TABLE = ["positions-check-1"]

MERGED = "context.transpose(1, 2).reshape(B, T, C) @ w_o"
CUT = "(x @ w).view(B, T, n_head, D).transpose(1, 2)"

MUTANTS = {
    "causal-average": [
        wrong(
            "all",
            "the mean of the whole sequence: the future leaks in",
            objective="O10.1",
            replace=("torch.tril(torch.ones(T, T, dtype=x.dtype))", "torch.ones(T, T).to(x)"),
            loses=AVERAGE,
        ),
        wrong(
            "divided-by-T",
            "divides every row by T: the weights do not sum to 1",
            objective="O10.1",
            replace=("triangle.sum(dim=1, keepdim=True)", "T"),
            loses=AVERAGE,
        ),
        wrong(
            "column-sums",
            "divides by the sums of the columns",
            objective="O10.1",
            replace=("sum(dim=1, keepdim=True)", "sum(dim=0, keepdim=True)"),
            loses=AVERAGE,
        ),
        wrong(
            "upper",
            "the upper triangle: the average of the future",
            objective="O10.1",
            replace=("torch.tril", "torch.triu"),
            loses=AVERAGE,
        ),
        right(
            "cumsum",
            "running sums over running counts",
            source=(
                "def causal_average(x):\n"
                "    counts = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)\n"
                "    return x.cumsum(dim=1) / counts[None, :, None]\n"
            ),
        ),
        right(
            "loop",
            "a loop over the places",
            source=(
                "def causal_average(x):\n"
                "    rows = [x[:, : t + 1].mean(dim=1) for t in range(x.shape[1])]\n"
                "    return torch.stack(rows, dim=1)\n"
            ),
        ),
    ],
    "attention": [
        wrong(
            "no-scale",
            "forgets the division by the root of d_k",
            objective="O10.2",
            replace=(" / math.sqrt(k.shape[-1])", ""),
            loses=[WEIGHTS],
        ),
        wrong(
            "scale-by-d",
            "divides by d_k itself",
            objective="O10.2",
            replace=("math.sqrt(k.shape[-1])", "k.shape[-1]"),
            loses=[WEIGHTS],
        ),
        wrong(
            "scale-by-length",
            "divides by the root of the number of keys",
            objective="O10.2",
            replace=("math.sqrt(k.shape[-1])", "math.sqrt(k.shape[1])"),
            loses=[WEIGHTS],
        ),
        wrong(
            "no-maximum",
            "does not subtract the maximum: exp overflows",
            objective="O10.2",
            replace=("    scores = scores - scores.max(dim=-1, keepdim=True).values\n", ""),
            loses=[STABLE],
        ),
        wrong(
            "global-maximum",
            "subtracts the maximum of the whole tensor: other rows underflow to 0/0",
            objective="O10.2",
            replace=("scores.max(dim=-1, keepdim=True).values", "scores.max()"),
            loses=[STABLE],
        ),
        wrong(
            "over-queries",
            "softmax over the queries in place of the keys",
            objective="O10.2",
            replace=("exponentials.sum(dim=-1, keepdim=True)", "exponentials.sum(1, True)"),
            loses=[WEIGHTS, CONTEXT, STABLE],
        ),
        wrong(
            "query-times-value",
            "swaps the results",
            objective="O10.1",
            replace=("return weights @ v, weights", "return weights, weights @ v"),
            loses=[WEIGHTS, CONTEXT, STABLE],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O10.1",
            source=(
                "from xor2gpt.attention import attention_weights\n\n\n"
                "def attention(q, k, v):\n"
                "    weights = attention_weights(q, k)\n    return weights @ v, weights\n"
            ),
            loses=[WEIGHTS, CONTEXT, STABLE],
        ),
        right(
            "einsum",
            "einsum and log-sum-exp",
            source=(
                "def attention(q, k, v):\n"
                "    s = torch.einsum('btd,bsd->bts', q, k) * k.shape[-1] ** -0.5\n"
                "    w = torch.exp(s - torch.logsumexp(s, dim=-1, keepdim=True))\n"
                "    return [torch.einsum('bts,bsd->btd', w, v), w]\n"
            ),
        ),
        right(
            "scaled-query",
            "scales the queries first, subtracts the maximum by amax",
            source=(
                "def attention(q, k, v):\n"
                "    scores = (q / math.sqrt(q.shape[-1])) @ k.mT\n"
                "    e = (scores - scores.amax(-1, keepdim=True)).exp()\n"
                "    w = e / e.sum(-1, keepdim=True)\n"
                "    return w.matmul(v), w\n"
            ),
        ),
    ],
    "causal": [
        wrong(
            "no-mask",
            "forgets the mask",
            objective="O10.3",
            replace=("    scores = scores.masked_fill(~allowed, -torch.inf)\n", ""),
            loses=[FUTURE, VALUES],
        ),
        wrong(
            "mask-after",
            "sets weights to 0 after the softmax: the denominator has seen the future",
            objective="O10.3",
            source=(
                "def causal_attention(q, k, v):\n"
                "    T = q.shape[1]\n"
                "    scores = q @ k.transpose(1, 2) / math.sqrt(k.shape[-1])\n"
                "    weights = torch.softmax(scores, dim=-1).tril()\n"
                "    return weights @ v\n"
            ),
            loses=[FUTURE, VALUES],
        ),
        wrong(
            "no-diagonal",
            "hides the diagonal too: the first row is NaN",
            objective="O10.3",
            replace=("dtype=torch.bool))", "dtype=torch.bool), diagonal=-1)"),
            loses=[VALUES],
        ),
        wrong(
            "polarity",
            "turns the mask round: sees only the future",
            objective="O10.3",
            replace=("masked_fill(~allowed,", "masked_fill(allowed,"),
            loses=[FUTURE, VALUES],
        ),
        wrong(
            "one-too-far",
            "sees one place ahead",
            objective="O10.3",
            replace=("dtype=torch.bool))", "dtype=torch.bool), diagonal=1)"),
            loses=[FUTURE, VALUES],
        ),
        wrong(
            "zero-score",
            "fills 0 in place of -inf: the future keeps e^0",
            objective="O10.3",
            replace=("-torch.inf", "0.0"),
            loses=[FUTURE, VALUES],
        ),
        wrong(
            "scale",
            "forgets the scale",
            objective="O10.3",
            replace=(" / math.sqrt(k.shape[-1])", ""),
            loses=[VALUES],
        ),
        right(
            "renormalise",
            "zeros after the softmax, then divides the rows by their sums",
            source=(
                "def causal_attention(q, k, v):\n"
                "    s = q @ k.transpose(1, 2) / math.sqrt(k.shape[-1])\n"
                "    w = torch.softmax(s, dim=-1).tril()\n"
                "    return (w / w.sum(dim=-1, keepdim=True)) @ v\n"
            ),
        ),
        right(
            "added-mask",
            "adds a matrix of 0 and -inf",
            source=(
                "def causal_attention(q, k, v):\n"
                "    T = q.shape[1]\n"
                "    wall = torch.full((T, T), float('-inf'), dtype=q.dtype).triu(1)\n"
                "    s = torch.einsum('btd,bsd->bts', q, k) / q.shape[-1] ** 0.5 + wall\n"
                "    return s.softmax(-1) @ v\n"
            ),
        ),
        right(
            "row-by-row",
            "one query after the other",
            source=(
                "def causal_attention(q, k, v):\n"
                "    rows = []\n"
                "    for t in range(q.shape[1]):\n"
                "        s = (k[:, : t + 1] @ q[:, t, :, None])[..., 0] / k.shape[-1] ** 0.5\n"
                "        rows.append((s.softmax(-1)[:, None] @ v[:, : t + 1])[:, 0])\n"
                "    return torch.stack(rows, dim=1)\n"
            ),
        ),
    ],
    "masked-softmax": [
        wrong(
            "polarity",
            "takes True for masked",
            objective="O10.3",
            source=(
                "def masked_softmax(scores, allowed):\n"
                "    w = torch.softmax(scores.masked_fill(allowed, -torch.inf), dim=-1)\n"
                "    return w.masked_fill(allowed, 0.0)\n"
            ),
            loses=[PADDING, EMPTY],
        ),
        wrong(
            "after",
            "masks after the softmax",
            objective="O10.3",
            replace=("scores.masked_fill(~allowed, -torch.inf)", "scores"),
            loses=[PADDING],
        ),
        wrong(
            "nan",
            "leaves NaN in rows that see nothing",
            objective="O10.3",
            replace=("return weights.masked_fill(~allowed, 0.0)", "return weights"),
            loses=[EMPTY],
        ),
        wrong(
            "times-zero",
            "multiplies by the mask: NaN times 0 is NaN",
            objective="O10.3",
            replace=("weights.masked_fill(~allowed, 0.0)", "weights * allowed"),
            loses=[EMPTY],
        ),
        wrong(
            "finite",
            "a large negative number: an empty row becomes an average over the forbidden",
            objective="O10.3",
            source=(
                "def masked_softmax(scores, allowed):\n"
                "    return torch.softmax(scores.masked_fill(~allowed, -1e9), dim=-1)\n"
            ),
            loses=[EMPTY],
        ),
        wrong(
            "wrong-axis",
            "softmax over the queries",
            objective="O10.3",
            replace=("dim=-1", "dim=-2"),
            loses=[PADDING, EMPTY],
        ),
        right(
            "nan-to-num",
            "replaces NaN afterwards",
            source=(
                "def masked_softmax(scores, allowed):\n"
                "    hidden = torch.where(allowed, scores, -torch.inf)\n"
                "    return torch.nan_to_num(torch.softmax(hidden, dim=-1), nan=0.0)\n"
            ),
        ),
        right(
            "by-hand",
            "exponentials of the allowed scores, sum guarded against 0",
            source=(
                "def masked_softmax(scores, allowed):\n"
                "    top = scores.amax(dim=-1, keepdim=True)\n"
                "    e = torch.where(allowed, torch.exp(scores - top), 0.0)\n"
                "    total = e.sum(dim=-1, keepdim=True)\n"
                "    return e / torch.where(total > 0, total, 1.0)\n"
            ),
        ),
    ],
    "dropout": [
        wrong(
            "no-factor",
            "drops without scaling the rest",
            objective="O10.4",
            replace=("weights / (1 - p)", "weights"),
            loses=[SCALE],
        ),
        wrong(
            "divides-by-p",
            "divides by p in place of 1 - p",
            objective="O10.4",
            replace=("weights / (1 - p)", "weights / max(p, 1e-9)"),
            loses=[SCALE],
        ),
        wrong(
            "keeps-the-dropped",
            "keeps where it should drop",
            objective="O10.4",
            replace=("uniform >= p", "uniform < p"),
            loses=[SCALE],
        ),
        wrong(
            "always-on",
            "drops in evaluation too",
            objective="O10.4",
            replace=("if not training:", "if False:"),
            loses=[EVAL],
        ),
        wrong(
            "scales-in-evaluation",
            "scales by 1 - p in evaluation, on top of the scaling in training",
            objective="O10.4",
            replace=("        return weights\n", "        return weights * (1 - p)\n"),
            loses=[EVAL],
        ),
        wrong(
            "renormalises",
            "makes the rows sum to 1 again",
            objective="O10.4",
            source=(
                "def dropout(weights, uniform, p, training):\n"
                "    if not training:\n        return weights\n"
                "    kept = weights * (uniform >= p)\n"
                "    return kept / kept.sum(dim=-1, keepdim=True).clamp_min(1e-9)\n"
            ),
            loses=[SCALE],
        ),
        right(
            "product",
            "a product with the kept ones",
            source=(
                "def dropout(weights, uniform, p, training):\n"
                "    return weights * (uniform >= p) / (1 - p) if training else weights.clone()\n"
            ),
        ),
    ],
    "heads": [
        wrong(
            "view-only",
            "views straight to the final shape",
            objective="O10.5",
            replace=(
                "x.view(B, T, n_head, C // n_head).transpose(1, 2)",
                "x.view(B, n_head, T, C // n_head)",
            ),
            loses=[SPLIT],
        ),
        wrong(
            "interleaved",
            "deals the channels out in turn: head h gets h, h + H, ...",
            objective="O10.5",
            replace=(
                "x.view(B, T, n_head, C // n_head).transpose(1, 2)",
                "x.view(B, T, C // n_head, n_head).permute(0, 3, 1, 2)",
            ),
            loses=[SPLIT],
        ),
        wrong(
            "no-transpose",
            "leaves the heads behind the time",
            objective="O10.5",
            replace=("C // n_head).transpose(1, 2)", "C // n_head)"),
            loses=[SPLIT],
        ),
        wrong(
            "no-error",
            "rounds the head size down and drops channels",
            objective="O10.5",
            replace=(
                "    if C % n_head:\n"
                "        raise ValueError("
                'f"{C} channels cannot be cut into {n_head} equal heads")\n'
                "    return x.view",
                "    return x[..., : C // n_head * n_head].reshape",
            ),
            loses=[SPLIT],
        ),
        wrong(
            "merge-without-transpose",
            "merges without the transpose: tokens get each other's channels",
            objective="O10.5",
            replace=("x.transpose(1, 2).reshape(B, T, H * D)", "x.reshape(B, T, H * D)"),
            loses=[MERGE],
        ),
        wrong(
            "merge-mixes-channels",
            "puts the channel axis before the heads",
            objective="O10.5",
            replace=(
                "x.transpose(1, 2).reshape(B, T, H * D)",
                "x.permute(0, 2, 3, 1).reshape(B, T, H * D)",
            ),
            loses=[MERGE],
        ),
        right(
            "chunk-and-cat",
            "cuts by chunk, merges by cat",
            source=(
                "def split_heads(x, n_head):\n"
                "    if x.shape[-1] % n_head != 0:\n"
                "        raise ValueError(f'{x.shape[-1]} / {n_head}')\n"
                "    return torch.stack(x.chunk(n_head, dim=-1), dim=1)\n\n\n"
                "def merge_heads(x):\n    return torch.cat(tuple(x.unbind(1)), dim=-1)\n"
            ),
        ),
        right(
            "permute",
            "permute and flatten",
            source=(
                "def split_heads(x, n_head):\n"
                "    if x.size(-1) % n_head:\n"
                "        raise ValueError('not divisible')\n"
                "    return x.unflatten(-1, (n_head, -1)).permute(0, 2, 1, 3)\n\n\n"
                "def merge_heads(x):\n    return x.permute(0, 2, 1, 3).flatten(2)\n"
            ),
        ),
    ],
    "multi-head": [
        wrong(
            "scale-by-c",
            "divides by the root of the width of the model",
            objective="O10.5",
            replace=("math.sqrt(D)  #", "math.sqrt(C)  #"),
            loses=[MANY],
        ),
        wrong(
            "view-only",
            "cuts by view without transpose",
            objective="O10.5",
            replace=(CUT, "(x @ w).view(B, n_head, T, D)"),
            loses=[MANY],
        ),
        wrong(
            "merge-without-transpose",
            "merges the heads without transposing back",
            objective="O10.5",
            replace=(MERGED, "context.reshape(B, T, C) @ w_o"),
            loses=[MANY],
        ),
        wrong(
            "no-output-projection",
            "forgets w_o",
            objective="O10.5",
            replace=(" @ w_o", ""),
            loses=[ONE, MANY, CAUSAL],
        ),
        wrong(
            "transposed-weights",
            "multiplies by the transpose, as nn.Linear stores it",
            objective="O10.5",
            replace=("(x @ w).view", "(x @ w.T).view"),
            loses=[ONE, MANY, CAUSAL],
        ),
        wrong(
            "softmax-over-heads",
            "softmax over the heads",
            objective="O10.5",
            replace=("torch.softmax(scores, dim=-1)", "torch.softmax(scores, dim=1)"),
            loses=[ONE, MANY, CAUSAL],
        ),
        wrong(
            "always-causal",
            "masks even when causal is False",
            objective="O10.3",
            replace=("    if causal:\n", "    if True:\n"),
            loses=[ONE, MANY, CAUSAL],
        ),
        wrong(
            "mask-ignored",
            "ignores causal",
            objective="O10.3",
            replace=("    if causal:\n", "    if False:\n"),
            loses=[CAUSAL],
        ),
        wrong(
            "mask-upside-down",
            "hides the past",
            objective="O10.3",
            replace=("torch.tril", "torch.triu"),
            loses=[CAUSAL],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O10.5",
            source=(
                "from xor2gpt.attention import merge_heads, scaled_dot_product, split_heads\n\n\n"
                "def multi_head_attention(x, w_q, w_k, w_v, w_o, n_head, causal):\n"
                "    q, k, v = (split_heads(x @ w, n_head) for w in (w_q, w_k, w_v))\n"
                "    return merge_heads(scaled_dot_product(q, k, v, causal=causal)) @ w_o\n"
            ),
            loses=[ONE, MANY, CAUSAL],
        ),
        right(
            "list-of-heads",
            "one head after the other, put side by side",
            source=(
                "def multi_head_attention(x, w_q, w_k, w_v, w_o, n_head, causal):\n"
                "    T, C = x.shape[1:]\n    D = C // n_head\n    heads = []\n"
                "    for h in range(n_head):\n"
                "        part = slice(h * D, (h + 1) * D)\n"
                "        q, k, v = x @ w_q[:, part], x @ w_k[:, part], x @ w_v[:, part]\n"
                "        s = q @ k.mT / D**0.5\n"
                "        if causal:\n"
                "            s = s + torch.full((T, T), -torch.inf, dtype=s.dtype).triu(1)\n"
                "        heads.append(s.softmax(-1) @ v)\n"
                "    return torch.cat(heads, dim=-1) @ w_o\n"
            ),
        ),
        right(
            "einsum",
            "einsum with named axes",
            source=(
                "def multi_head_attention(x, w_q, w_k, w_v, w_o, n_head, causal):\n"
                "    B, T, C = x.shape\n"
                "    cut = lambda w: (x @ w).reshape(B, T, n_head, -1)\n"
                "    s = torch.einsum('bthd,bshd->bhts', cut(w_q), cut(w_k))\n"
                "    s = s / (C / n_head) ** 0.5\n"
                "    if causal:\n"
                "        s.masked_fill_(torch.ones(T, T).triu(1).bool(), float('-inf'))\n"
                "    out = torch.einsum('bhts,bshd->bthd', s.softmax(-1), cut(w_v))\n"
                "    return out.flatten(2) @ w_o\n"
            ),
        ),
    ],
    "bug": [
        wrong(
            "scale-left",
            "repairs mask and heads, leaves the division by D",
            objective="O10.7",
            replace=("math.sqrt(D)", "D"),
            loses=[BUG_SCALE],
        ),
        wrong(
            "scale-times",
            "multiplies by the root",
            objective="O10.7",
            replace=("/ math.sqrt(D)", "* math.sqrt(D)"),
            loses=[BUG_SCALE],
        ),
        wrong(
            "mask-left",
            "repairs scale and heads, leaves the mask after the softmax",
            objective="O10.7",
            replace=(
                "torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1)",
                "torch.softmax(scores, dim=-1).masked_fill(~allowed, 0.0)",
            ),
            loses=[BUG_MASK],
        ),
        wrong(
            "heads-left",
            "repairs scale and mask, leaves the view",
            objective="O10.7",
            replace=(
                "view(B, T, n_head, D).transpose(1, 2) for w",
                "view(B, n_head, T, D) for w",
            ),
            loses=[BUG_HEADS],
        ),
        wrong(
            "cancels-the-view",
            "removes the transpose at the end in place of adding one at the start",
            objective="O10.7",
            source=(
                "def causal_heads(x, w_q, w_k, w_v, n_head):\n"
                "    B, T, C = x.shape\n    D = C // n_head\n"
                "    allowed = torch.tril(torch.ones(T, T, dtype=torch.bool))\n"
                "    q, k, v = ((x @ w).view(B, n_head, T, D) for w in (w_q, w_k, w_v))\n"
                "    scores = q @ k.transpose(2, 3) / math.sqrt(D)\n"
                "    scores = scores.masked_fill(~allowed, -torch.inf)\n"
                "    return (torch.softmax(scores, dim=-1) @ v).reshape(B, T, C)\n"
            ),
            loses=[BUG_HEADS],
        ),
        right(
            "chunks",
            "cuts by chunk and stack",
            source=(
                "def causal_heads(x, w_q, w_k, w_v, n_head):\n"
                "    T = x.shape[1]\n"
                "    q, k, v = (\n"
                "        torch.stack((x @ w).chunk(n_head, dim=-1), dim=1)\n"
                "        for w in (w_q, w_k, w_v)\n"
                "    )\n"
                "    s = q @ k.mT * k.shape[-1] ** -0.5\n"
                "    s = s + torch.full((T, T), -torch.inf, dtype=s.dtype).triu(1)\n"
                "    return torch.cat(list((s.softmax(-1) @ v).unbind(1)), dim=-1)\n"
            ),
        ),
    ],
    "positions": [
        wrong(
            "halves",
            "sines in the first half, cosines in the second",
            objective="O10.6",
            replace=(
                "table[:, 0::2], table[:, 1::2]",
                "table[:, : C // 2], table[:, C // 2 :]",
            ),
            loses=TABLE,
        ),
        wrong(
            "exponent-i",
            "takes i/C in place of 2i/C",
            objective="O10.6",
            replace=("10000 ** (even / C)", "10000 ** (even / 2 / C)"),
            loses=TABLE,
        ),
        wrong(
            "starts-at-one",
            "the first place is 1",
            objective="O10.6",
            replace=("places = torch.arange(T,", "places = 1 + torch.arange(T,"),
            loses=TABLE,
        ),
        wrong(
            "swapped",
            "cosines first",
            objective="O10.6",
            replace=(
                "torch.sin(angles), torch.cos(angles)",
                "torch.cos(angles), torch.sin(angles)",
            ),
            loses=TABLE,
        ),
        right(
            "loop",
            "number by number",
            source=(
                "def sinusoidal_positions(T, C):\n"
                "    rows = []\n"
                "    for t in range(T):\n"
                "        row = []\n"
                "        for c in range(C):\n"
                "            angle = t / 10000 ** ((c - c % 2) / C)\n"
                "            row.append(math.cos(angle) if c % 2 else math.sin(angle))\n"
                "        rows.append(row)\n"
                "    return torch.tensor(rows, dtype=torch.float64)\n"
            ),
        ),
    ],
}

# these four also run through nbgrader
NBGRADER = ["reference", "stub", "causal/mask-after", "multi-head/einsum"]
