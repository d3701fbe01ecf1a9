"""Wrong and odd-but-right answers for stage 11. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

VALUES, EPS = "layer-norm-check-values", "layer-norm-check-eps"
GELU = ["gelu-check-1"]
FFN, PLACES = "feed-forward-check-values", "feed-forward-check-places"
ROAD, ATTENTION, FEED = (f"block-check-{k}" for k in ("road", "attention", "feed"))
EMBED, HEAD, LONG = (f"forward-check-{k}" for k in ("embed", "head", "long"))
TIED, OPTIONS = "count-check-tied", "count-check-options"
FLOPS = ["flops-check-1"]
PLACE, CROP, BATCH = (f"generate-check-{k}" for k in ("place", "crop", "batch"))
LOAD_ATTENTION, SQUARE, REST = (f"load-check-{k}" for k in ("attention", "square", "rest"))

NORM1 = 'normal = F.layer_norm(x, (C,), p["norm1_scale"], p["norm1_shift"])'
ATTEND = 'x = x + attention_layer(normal, p["w_q"], p["w_k"], p["w_v"], p["w_o"], n_head)'

MUTANTS = {
    "layer-norm": [
        wrong(
            "unbiased",
            "divides the variance by C - 1",
            objective="O11.1",
            replace=("unbiased=False", "unbiased=True"),
            loses=[VALUES],
        ),
        wrong(
            "eps-outside",
            "adds eps to the root",
            objective="O11.1",
            replace=("torch.sqrt(variance + eps)", "(torch.sqrt(variance) + eps)"),
            loses=[EPS],
        ),
        wrong(
            "no-eps",
            "forgets eps",
            objective="O11.1",
            replace=("torch.sqrt(variance + eps)", "torch.sqrt(variance)"),
            loses=[EPS],
        ),
        wrong(
            "over-time",
            "normalises over the second axis from the end",
            objective="O11.1",
            source=(
                "def layer_norm(x, scale, shift, eps=1e-5):\n"
                "    mean = x.mean(dim=-2, keepdim=True)\n"
                "    variance = x.var(dim=-2, keepdim=True, unbiased=False)\n"
                "    return scale * (x - mean) / torch.sqrt(variance + eps) + shift\n"
            ),
            loses=[VALUES, EPS],
        ),
        wrong(
            "no-mean",
            "divides without subtracting the mean (that is another norm)",
            objective="O11.1",
            replace=("scale * (x - mean)", "scale * x"),
            loses=[VALUES, EPS],
        ),
        wrong(
            "by-variance",
            "divides by the variance and not by its root",
            objective="O11.1",
            replace=("torch.sqrt(variance + eps)", "(variance + eps)"),
            loses=[VALUES, EPS],
        ),
        wrong(
            "shift-first",
            "shifts before it scales",
            objective="O11.1",
            replace=(
                "scale * (x - mean) / torch.sqrt(variance + eps) + shift",
                "scale * ((x - mean) / torch.sqrt(variance + eps) + shift)",
            ),
            loses=[VALUES],
        ),
        right(
            "rsqrt",
            "by mean of squares and rsqrt",
            source=(
                "def layer_norm(x, scale, shift, eps=1e-5):\n"
                "    centred = x - x.mean(-1, keepdim=True)\n"
                "    power = (centred * centred).mean(-1, keepdim=True)\n"
                "    return centred * torch.rsqrt(power + eps) * scale + shift\n"
            ),
        ),
    ],
    "gelu": [
        wrong(
            "no-half",
            "forgets the half",
            objective="O11.2",
            replace=("0.5 * x", "x"),
            loses=GELU,
        ),
        wrong(
            "relu",
            "writes ReLU",
            objective="O11.2",
            source="def gelu(x):\n    return torch.relu(x)\n",
            loses=GELU,
        ),
        wrong(
            "sigmoid",
            "the sigmoid approximation, which GPT-2 does not use",
            objective="O11.2",
            source="def gelu(x):\n    return x * torch.sigmoid(1.702 * x)\n",
            loses=GELU,
        ),
        wrong(
            "square",
            "a square where the cube belongs",
            objective="O11.2",
            replace=("x**3", "x**2"),
            loses=GELU,
        ),
        wrong(
            "exact",
            "the exact form with erf",
            objective="O11.2",
            source="def gelu(x):\n    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))\n",
            loses=GELU,
        ),
        right(
            "by-sigmoid",
            "tanh written as a sigmoid of twice the number",
            source=(
                "def gelu(x):\n"
                "    inner = (2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)\n"
                "    return x * torch.sigmoid(2 * inner)\n"
            ),
        ),
    ],
    "feed-forward": [
        wrong(
            "no-gelu",
            "two linear maps are one linear map",
            objective="O11.2",
            replace=('F.gelu(x @ w_up + b_up, approximate="tanh")', "x @ w_up + b_up"),
            loses=[FFN, PLACES],
        ),
        wrong(
            "gelu-at-the-end",
            "an activation after the second map too",
            objective="O11.2",
            replace=("return hidden @ w_down + b_down", "return F.gelu(hidden @ w_down + b_down)"),
            loses=[FFN],
        ),
        wrong(
            "no-bias",
            "forgets the biases",
            objective="O11.2",
            replace=("hidden @ w_down + b_down", "hidden @ w_down"),
            loses=[FFN],
        ),
        wrong(
            "mixes-places",
            "averages over the places first",
            objective="O11.2",
            replace=("F.gelu(x @ w_up", "F.gelu((x + x.mean(1, keepdim=True)) / 2 @ w_up"),
            loses=[FFN, PLACES],
        ),
        wrong(
            "returns-hidden",
            "forgets the way back down",
            objective="O11.2",
            replace=("return hidden @ w_down + b_down", "return hidden"),
            loses=[FFN, PLACES],
        ),
        right(
            "exact-gelu",
            "the exact GELU is close enough here",
            source=(
                "def feed_forward(x, w_up, b_up, w_down, b_down):\n"
                "    return F.linear(F.gelu(F.linear(x, w_up.T, b_up)), w_down.T, b_down)\n"
            ),
        ),
    ],
    "block": [
        wrong(
            "norm-on-the-road",
            "normalises x itself before each part",
            objective="O11.3",
            source=(
                "def block(x, p, n_head):\n"
                "    C = x.shape[-1]\n"
                '    x = F.layer_norm(x, (C,), p["norm1_scale"], p["norm1_shift"])\n'
                '    x = x + attention_layer(x, p["w_q"], p["w_k"], p["w_v"], p["w_o"], n_head)\n'
                '    x = F.layer_norm(x, (C,), p["norm2_scale"], p["norm2_shift"])\n'
                '    hidden = F.gelu(x @ p["w_up"] + p["b_up"], approximate="tanh")\n'
                '    return x + hidden @ p["w_down"] + p["b_down"]\n'
            ),
            loses=[ROAD, ATTENTION, FEED],
        ),
        wrong(
            "post-norm",
            "normalises after the addition",
            objective="O11.3",
            source=(
                "def block(x, p, n_head):\n"
                "    C = x.shape[-1]\n"
                '    x = x + attention_layer(x, p["w_q"], p["w_k"], p["w_v"], p["w_o"], n_head)\n'
                '    x = F.layer_norm(x, (C,), p["norm1_scale"], p["norm1_shift"])\n'
                '    hidden = F.gelu(x @ p["w_up"] + p["b_up"], approximate="tanh")\n'
                '    x = x + hidden @ p["w_down"] + p["b_down"]\n'
                '    return F.layer_norm(x, (C,), p["norm2_scale"], p["norm2_shift"])\n'
            ),
            loses=[ROAD, ATTENTION, FEED],
        ),
        wrong(
            "no-residual",
            "replaces x by what attention found",
            objective="O11.3",
            replace=("x = x + attention_layer(", "x = attention_layer("),
            loses=[ROAD, ATTENTION, FEED],
        ),
        wrong(
            "no-norm-1",
            "attention reads x without a norm",
            objective="O11.3",
            replace=("attention_layer(normal,", "attention_layer(x,"),
            loses=[ATTENTION],
        ),
        wrong(
            "old-normal",
            "the feed-forward part reads the copy that attention read",
            objective="O11.3",
            replace=(
                '    normal = F.layer_norm(x, (C,), p["norm2_scale"], p["norm2_shift"])\n',
                "",
            ),
            loses=[FEED],
        ),
        wrong(
            "norms-swapped",
            "uses the second norm's scale and shift for both",
            objective="O11.3",
            replace=('p["norm1_scale"], p["norm1_shift"]', 'p["norm2_scale"], p["norm2_shift"]'),
            loses=[ATTENTION],
        ),
        wrong(
            "no-gelu",
            "forgets the activation",
            objective="O11.3",
            replace=(
                'F.gelu(normal @ p["w_up"] + p["b_up"], approximate="tanh")',
                'normal @ p["w_up"] + p["b_up"]',
            ),
            loses=[FEED],
        ),
        right(
            "parts-first",
            "computes what is added, then adds",
            source=(
                "def block(x, p, n_head):\n"
                "    def norm(v, k):\n"
                "        shape = v.shape[-1:]\n"
                '        scale, shift = p[f"norm{k}_scale"], p[f"norm{k}_shift"]\n'
                "        return F.layer_norm(v, shape, scale, shift)\n\n"
                '    matrices = [p[f"w_{name}"] for name in "qkvo"]\n'
                "    middle = attention_layer(norm(x, 1), *matrices, n_head).add(x)\n"
                '    up = norm(middle, 2) @ p["w_up"] + p["b_up"]\n'
                '    found = F.gelu(up) @ p["w_down"] + p["b_down"]\n'
                "    return middle + found\n"
            ),
        ),
    ],
    "forward": [
        wrong(
            "no-positions",
            "forgets the positions",
            objective="O11.4",
            replace=("blocks(wte[ids] + wpe[:T])", "blocks(wte[ids])"),
            loses=[EMBED],
        ),
        wrong(
            "position-of-token",
            "looks positions up by the token",
            objective="O11.4",
            replace=("wpe[:T]", "wpe[ids % len(wpe)]"),
            loses=[EMBED],
        ),
        wrong(
            "last-positions",
            "takes the last rows of the table",
            objective="O11.4",
            replace=("wpe[:T]", "wpe[-T:]"),
            loses=[EMBED],
        ),
        wrong(
            "no-final-norm",
            "forgets the final norm",
            objective="O11.4",
            replace=("F.layer_norm(x, (C,), scale, shift) @ wte.T", "x @ wte.T"),
            loses=[HEAD],
        ),
        wrong(
            "softmax",
            "returns probabilities",
            objective="O11.4",
            replace=(
                "F.layer_norm(x, (C,), scale, shift) @ wte.T",
                "torch.softmax(F.layer_norm(x, (C,), scale, shift) @ wte.T, dim=-1)",
            ),
            loses=[HEAD],
        ),
        wrong(
            "no-error",
            "crops in silence",
            objective="O11.4",
            replace=(
                "    if T > len(wpe):\n"
                "        raise ValueError("
                'f"{T} tokens, but there are only {len(wpe)} positions")\n',
                "    T = min(T, len(wpe))\n    ids = ids[:, :T]\n",
            ),
            loses=[LONG],
        ),
        wrong(
            "off-by-one",
            "refuses an input that fits exactly",
            objective="O11.4",
            replace=("if T > len(wpe):", "if T >= len(wpe):"),
            loses=[LONG],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O11.4",
            source=(
                "from xor2gpt.gpt import GPT\n\n\n"
                "def gpt_logits(ids, wte, wpe, blocks, scale, shift):\n"
                "    return GPT(ids)\n"
            ),
            loses=[EMBED, HEAD, LONG],
        ),
        right(
            "f-embedding",
            "look-ups by F.embedding, head by F.linear",
            source=(
                "def gpt_logits(ids, wte, wpe, blocks, scale, shift):\n"
                "    places = torch.arange(ids.shape[1])\n"
                "    if len(places) > wpe.shape[0]:\n"
                "        raise ValueError('too long')\n"
                "    x = blocks(F.embedding(ids, wte) + F.embedding(places, wpe)[None])\n"
                "    return F.linear(F.layer_norm(x, x.shape[-1:], scale, shift), wte)\n"
            ),
        ),
    ],
    "count": [
        wrong(
            "no-qkv-bias",
            "leaves out the biases of queries, keys and values",
            objective="O11.5",
            replace=("11 * n_embd", "8 * n_embd"),
            loses=[TIED, OPTIONS],
        ),
        wrong(
            "head-counted",
            "counts the tied head again",
            objective="O11.5",
            replace=("head = 0 if tied else", "head = 0 if False else"),
            loses=[TIED, OPTIONS],
        ),
        wrong(
            "no-final-norm",
            "forgets the final norm",
            objective="O11.5",
            replace=(" + final_norm", ""),
            loses=[TIED, OPTIONS],
        ),
        wrong(
            "no-positions",
            "forgets the position table",
            objective="O11.5",
            replace=("(vocab_size + context_length)", "vocab_size"),
            loses=[TIED],
        ),
        wrong(
            "one-norm",
            "counts one norm a block",
            objective="O11.5",
            replace=("12 * n_embd**2 + 2 * n_embd", "12 * n_embd**2 + n_embd"),
            loses=[TIED],
        ),
        wrong(
            "tied-ignored",
            "never counts a head",
            objective="O11.5",
            replace=("else vocab_size * n_embd", "else 0"),
            loses=[OPTIONS],
        ),
        right(
            "part-by-part",
            "sums shapes",
            source=(
                "def count_parameters(vocab_size, context_length, n_layer, n_embd,\n"
                "                     tied=True, bias=True):\n"
                "    C, b = n_embd, int(bias)\n"
                "    linear = lambda i, o: i * o + b * o\n"
                "    norm = C + b * C\n"
                "    block = linear(C, 3 * C) + linear(C, C) + linear(C, 4 * C)\n"
                "    block += linear(4 * C, C) + 2 * norm\n"
                "    heads = 1 if tied else 2\n"
                "    return heads * vocab_size * C + context_length * C + n_layer * block + norm\n"
            ),
        ),
    ],
    "flops": [
        wrong(
            "no-head",
            "thinks that the tied head costs nothing",
            objective="O11.5",
            replace=(" + vocab_size * n_embd", ""),
            loses=FLOPS,
        ),
        wrong(
            "multiply-adds",
            "counts a multiply-add as one",
            objective="O11.5",
            replace=("return 2 * multiply_adds", "return multiply_adds"),
            loses=FLOPS,
        ),
        wrong(
            "no-attention",
            "leaves out scores and sums",
            objective="O11.5",
            replace=(" + 2 * T * n_embd", ""),
            loses=FLOPS,
        ),
        wrong(
            "squared-length",
            "counts the whole sequence in place of one token",
            objective="O11.5",
            replace=("2 * T * n_embd", "2 * T**2 * n_embd"),
            loses=FLOPS,
        ),
        right(
            "sum",
            "block by block",
            source=(
                "def flops_per_token(vocab_size, n_layer, n_embd, T):\n"
                "    total = 2 * vocab_size * n_embd\n"
                "    for _ in range(n_layer):\n"
                "        total += 24 * n_embd * n_embd + 4 * T * n_embd\n"
                "    return total\n"
            ),
        ),
    ],
    "generate": [
        wrong(
            "first-place",
            "repairs the rest, reads the logits of the first place",
            objective="O11.6",
            replace=("[:, -1]  # (B, V)", "[:, 0]  # (B, V)"),
            loses=[PLACE],
        ),
        wrong(
            "no-crop",
            "repairs the rest, gives the model everything",
            objective="O11.6",
            replace=("ids[:, -context_length:]", "ids"),
            loses=[CROP],
        ),
        wrong(
            "crops-the-start",
            "keeps the first tokens in place of the last",
            objective="O11.6",
            replace=("ids[:, -context_length:]", "ids[:, :context_length]"),
            loses=[CROP],
        ),
        wrong(
            "first-sequence",
            "repairs the rest, uses the first sequence's token for all",
            objective="O11.6",
            replace=(
                "best = logits.argmax(dim=-1, keepdim=True)  # (B, 1)",
                "best = logits[:1].argmax(dim=-1, keepdim=True).expand(len(ids), 1)",
            ),
            loses=[BATCH],
        ),
        wrong(
            "over-batch",
            "takes the maximum over the batch",
            objective="O11.6",
            replace=(
                "best = logits.argmax(dim=-1, keepdim=True)  # (B, 1)",
                "best = logits.argmax(dim=0)[: len(ids), None]",
            ),
            loses=[PLACE, CROP, BATCH],
        ),
        wrong(
            "crops-the-result",
            "throws the start of the text away",
            objective="O11.6",
            replace=("best], dim=1)", "best], dim=1)[:, -context_length:]"),
            loses=[CROP],
        ),
        right(
            "softmax",
            "takes the maximum of the probabilities",
            source=(
                "def generate(model, ids, new_tokens, context_length):\n"
                "    text = ids.clone()\n"
                "    for _ in range(new_tokens):\n"
                "        window = text[:, max(0, text.shape[1] - context_length) :]\n"
                "        probabilities = model(window)[:, -1].softmax(-1)\n"
                "        text = torch.hstack([text, probabilities.max(-1).indices[:, None]])\n"
                "    return text\n"
            ),
        ),
    ],
    "load": [
        wrong(
            "square-not-transposed",
            "forgets to transpose the square output projection",
            objective="O11.7",
            replace=(
                'mine[f"{new}.weight"] = state[f"{old}.weight"].T',
                'w = state[f"{old}.weight"]\n'
                '        mine[f"{new}.weight"] = w if w.shape[0] == w.shape[1] else w.T',
            ),
            loses=[SQUARE],
        ),
        wrong(
            "qkv-not-transposed",
            "copies q, k, v as they are stored",
            objective="O11.7",
            replace=("= weight.T, bias", "= weight, bias"),
            loses=[LOAD_ATTENTION],
        ),
        wrong(
            "order-kqv",
            "takes the keys first",
            objective="O11.7",
            replace=('("query", "key", "value")', '("key", "query", "value")'),
            loses=[LOAD_ATTENTION],
        ),
        wrong(
            "cut-the-rows",
            "reads the matrix as rows of three",
            objective="O11.7",
            replace=(
                '["attn.c_attn.weight"].chunk(3, dim=1)',
                '["attn.c_attn.weight"].T.reshape(-1, 3, state["ln_1.bias"].numel()).unbind(1)',
            ),
            loses=[LOAD_ATTENTION],
        ),
        wrong(
            "up-from-the-wrong-name",
            "both c_proj look alike: reads the wrong one",
            objective="O11.7",
            replace=('("up", "mlp.c_fc")', '("up", "mlp.c_proj")'),
            loses=[REST],
        ),
        wrong(
            "norms-swapped",
            "swaps the two norms",
            objective="O11.7",
            replace=('"ln_1"), ("norm2", "ln_2")', '"ln_2"), ("norm2", "ln_1")'),
            loses=[REST],
        ),
        right(
            "one-by-one",
            "slices and writes every name out",
            source=(
                "def read_gpt2_block(state):\n"
                '    C = len(state["ln_1.weight"])\n'
                "    out = {}\n"
                '    pairs = {"ln_1": "norm1", "ln_2": "norm2", "attn.c_proj": "out"}\n'
                '    pairs |= {"mlp.c_fc": "up", "mlp.c_proj": "down"}\n'
                "    for old, new in pairs.items():\n"
                '        w = state[old + ".weight"]\n'
                '        out[new + ".weight"] = w.mT.contiguous() if w.ndim == 2 else w\n'
                '        out[new + ".bias"] = state[old + ".bias"]\n'
                '    for k, name in enumerate(["query", "key", "value"]):\n'
                "        part = slice(k * C, k * C + C)\n"
                '        out[name + ".weight"] = state["attn.c_attn.weight"][:, part].mT\n'
                '        out[name + ".bias"] = state["attn.c_attn.bias"][part]\n'
                "    return out\n"
            ),
        ),
    ],
}

# these four also run through nbgrader
NBGRADER = ["reference", "stub", "block/post-norm", "generate/softmax"]
