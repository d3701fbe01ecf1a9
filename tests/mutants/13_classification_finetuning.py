"""Wrong and odd-but-right answers for stage 13. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

VALUES, NOTHING = "scores-check-values", "scores-check-nothing"
DUPLICATES, REPETITION, GARBLED = (
    f"faults-check-{kind}" for kind in ("duplicates", "repetition", "garbled")
)
LEAK, BALANCE, SIZES = (f"prepare-check-{kind}" for kind in ("leak", "balance", "sizes"))
ROWS, CUT = "batch-check-rows", "batch-check-cut"
TOKEN, MEAN = "pool-check-token", "pool-check-mean"
HEAD, LAYERS = "adapt-check-head", "adapt-check-layers"
MEANS, FILLER, MODE = (f"measure-check-{kind}" for kind in ("means", "filler", "mode"))
BEST, TIES = "threshold-check-best", "threshold-check-ties"
INTERVAL = ["interval-check-1"]
LABEL, LENGTH = "classify-check-label", "classify-check-length"

RUNS = "range(len(text) - 7)"
SHUFFLE = "order = rng.permutation(chosen)"
KEPT = "kept = np.unique(np.asarray(groups), return_index=True)[1]"
FREEZE = 'parameter.requires_grad_(train == "all")'
ADAPT_HEAD = (
    "def adapt(model, n_classes, train):\n    width = model.token_embedding.embedding_dim\n"
)
MEASURE_LOOP = "for ids, lengths, labels in batches:"

MUTANTS = {
    "scores": [
        wrong(
            "swapped",
            "precision and recall have changed places",
            objective="O13.5",
            source=(
                "def scores(predictions, labels):\n"
                "    called, spam = np.asarray(predictions) == 1, np.asarray(labels) == 1\n"
                "    hits = int((called & spam).sum())\n"
                "    return {\n"
                '        "accuracy": float((called == spam).mean()),\n'
                '        "recall": hits / int(called.sum()) if called.any() else None,\n'
                '        "precision": hits / int(spam.sum()) if spam.any() else None,\n'
                "    }\n"
            ),
            loses=[VALUES, NOTHING],
        ),
        wrong(
            "ham-positive",
            "looks for ham: the wrong class is positive",
            objective="O13.5",
            replace=(
                "np.asarray(predictions) == 1, np.asarray(labels) == 1",
                "np.asarray(predictions) == 0, np.asarray(labels) == 0",
            ),
            loses=[VALUES, NOTHING],
        ),
        wrong(
            "zero-for-nothing",
            "gives 0 where the score is 0 / 0, as many libraries do",
            objective="O13.5",
            source=(
                "def scores(predictions, labels):\n"
                "    called, spam = np.asarray(predictions) == 1, np.asarray(labels) == 1\n"
                "    hits = int((called & spam).sum())\n"
                "    return {\n"
                '        "accuracy": float((called == spam).mean()),\n'
                '        "precision": hits / max(1, int(called.sum())),\n'
                '        "recall": hits / max(1, int(spam.sum())),\n'
                "    }\n"
            ),
            loses=[NOTHING],
        ),
        wrong(
            "divides-by-nothing",
            "divides without asking: an error for a filter that calls nothing",
            objective="O13.5",
            replace=(
                "hits / int(called.sum()) if called.any() else None",
                "hits / int(called.sum())",
            ),
            loses=[NOTHING],
        ),
        wrong(
            "percent",
            "gives percent where fractions were asked for",
            objective="O13.5",
            source=(
                "def scores(predictions, labels):\n"
                "    called, spam = np.asarray(predictions) == 1, np.asarray(labels) == 1\n"
                "    hits = 100 * int((called & spam).sum())\n"
                "    return {\n"
                '        "accuracy": 100 * float((called == spam).mean()),\n'
                '        "precision": hits / int(called.sum()) if called.any() else None,\n'
                '        "recall": hits / int(spam.sum()) if spam.any() else None,\n'
                "    }\n"
            ),
            loses=[VALUES, NOTHING],
        ),
        wrong(
            "accuracy-of-spam",
            "counts only the found spam as right",
            objective="O13.5",
            replace=("float((called == spam).mean())", "hits / len(spam)"),
            loses=[VALUES, NOTHING],
        ),
        right(
            "counted",
            "counts the four boxes in a loop",
            source=(
                "def scores(predictions, labels):\n"
                "    tp = fp = fn = tn = 0\n"
                "    for p, y in zip(predictions, labels):\n"
                "        tp += p == 1 and y == 1\n"
                "        fp += p == 1 and y == 0\n"
                "        fn += p == 0 and y == 1\n"
                "        tn += p == 0 and y == 0\n"
                "    return {\n"
                '        "recall": None if tp + fn == 0 else float(tp / (tp + fn)),\n'
                '        "precision": None if tp + fp == 0 else float(tp / (tp + fp)),\n'
                '        "accuracy": float((tp + tn) / (tp + fp + fn + tn)),\n'
                "    }\n"
            ),
        ),
        right(
            "tensors",
            "sums of products, in torch",
            source=(
                "def scores(predictions, labels):\n"
                "    p, y = torch.as_tensor(np.array(predictions)), "
                "torch.as_tensor(np.array(labels))\n"
                "    hits, called, spam = (p * y).sum(), p.sum(), y.sum()\n"
                "    return {\n"
                '        "accuracy": (p == y).double().mean().item(),\n'
                '        "precision": (hits / called).item() if called else None,\n'
                '        "recall": (hits / spam).item() if spam else None,\n'
                "    }\n"
            ),
        ),
    ],
    "faults": [
        wrong(
            "words",
            "splits at spaces and looks for the commonest word: never fires on Chinese",
            objective="O13.1",
            replace=(
                "runs = [text[start : start + 8] for start in range(len(text) - 7)]\n"
                "        if runs and 1 - len(set(runs)) / len(runs) > 0.4:",
                "runs = text.split()\n"
                "        if len(runs) >= 10 and max(map(runs.count, runs)) / len(runs) > 0.8:",
            ),
            loses=[REPETITION],
        ),
        wrong(
            "waits-for-error",
            "tries to encode and waits for an error that does not come",
            objective="O13.1",
            replace=(
                'odd = any(ord(sign) < 32 and sign not in "\\t\\n\\r" for sign in text)\n'
                '        if odd or "\\ufffd" in text:\n'
                '            found["garbled"].append(index)',
                "try:\n"
                '            text.encode("utf-8")\n'
                "        except UnicodeError:\n"
                '            found["garbled"].append(index)',
            ),
            loses=[GARBLED],
        ),
        wrong(
            "no-normal-form",
            "compares letter by letter: another capital makes a new text",
            objective="O13.1",
            replace=('" ".join(bare.lower().split())', "bare"),
            loses=[DUPLICATES],
        ),
        wrong(
            "both-copies",
            "reports the first of two equal texts as well",
            objective="O13.1",
            replace=(
                "    return found",
                '    for kind in ["duplicate"]:\n'
                '        normal = [" ".join(t.strip().lower().split()) for t in texts]\n'
                "        found[kind] = [\n"
                "            i for i, t in enumerate(normal)\n"
                "            if len(t) >= 10 and normal.count(t) > 1\n"
                "        ]\n"
                "    return found",
            ),
            loses=[DUPLICATES],
        ),
        wrong(
            "not-ascii",
            "takes every sign outside ASCII for garbled: umlauts and Chinese",
            objective="O13.1",
            replace=(
                'odd = any(ord(sign) < 32 and sign not in "\\t\\n\\r" for sign in text)',
                "odd = not text.isascii()",
            ),
            loses=[GARBLED],
        ),
        wrong(
            "one-run-short",
            "counts distinct characters instead of distinct runs",
            objective="O13.1",
            replace=("text[start : start + 8]", "text[start]"),
            loses=[REPETITION],
        ),
        wrong(
            "length-with-spaces",
            "measures the length with the spaces at the ends",
            objective="O13.1",
            replace=("if len(bare) < 10:", "if len(text) < 10:"),
            loses=[DUPLICATES],
        ),
        wrong(
            "compares-short",
            "compares short texts, too: two times ok is a fault",
            objective="O13.1",
            replace=(
                "        else:\n            normal",
                "        if True:\n            normal",
            ),
            loses=[DUPLICATES],
        ),
        right(
            "by-kind",
            "one comprehension for each kind",
            source=(
                "def find_faults(texts):\n"
                "    import unicodedata\n\n"
                "    def share(t):\n"
                "        n = len(t) - 7\n"
                "        return 1 - len({t[k : k + 8] for k in range(n)}) / n if n > 0 else 0\n\n"
                "    full = [i for i, t in enumerate(texts) if t.strip()]\n"
                "    long = [i for i in full if len(texts[i].strip()) >= 10]\n"
                '    normal = {i: " ".join(texts[i].split()).casefold() for i in long}\n'
                "    earlier = list(normal.values())\n"
                "    return {\n"
                '        "empty": [i for i, t in enumerate(texts) if not t.strip()],\n'
                '        "short": [i for i in full if i not in long],\n'
                '        "duplicate": [\n'
                "            i for k, i in enumerate(long) if normal[i] in earlier[:k]\n"
                "        ],\n"
                '        "repetition": [i for i in full if share(texts[i]) > 0.4],\n'
                '        "garbled": [\n'
                "            i\n"
                "            for i in full\n"
                "            if any(\n"
                '                c == chr(0xFFFD) or (unicodedata.category(c) == "Cc" '
                'and c not in "\\t\\r\\n")\n'
                "                for c in texts[i]\n"
                "            )\n"
                "        ],\n"
                "    }\n"
            ),
        ),
        right(
            "stripped-runs",
            "measures repetition without the spaces at the ends",
            replace=(
                "runs = [text[start : start + 8] for start in range(len(text) - 7)]",
                "runs = [bare[k : k + 8] for k in range(len(bare) - 7)]",
            ),
        ),
    ],
    "prepare": [
        wrong(
            "copies-first",
            "balances by copying spam before the split: the same message on both sides",
            objective="O13.1",
            source=(
                "def prepare(labels, groups, seed):\n"
                "    rng, labels = np.random.default_rng(seed), np.asarray(labels)\n"
                "    kept = np.unique(np.asarray(groups), return_index=True)[1]\n"
                "    parts = [kept[labels[kept] == 0], kept[labels[kept] == 1]]\n"
                "    size = max(map(len, parts))\n"
                "    parts = [\n"
                "        np.append(p, rng.choice(p, size - len(p)) if len(p) < size else p[:0])\n"
                "        for p in parts\n"
                "    ]\n"
                "    order = rng.permutation(np.concatenate(parts)).astype(int)\n"
                "    n = len(order)\n"
                "    ends = n * 7 // 10, n * 7 // 10 + n // 10\n"
                "    return order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :]\n"
            ),
            loses=[LEAK, BALANCE, SIZES],
        ),
        wrong(
            "ignores-groups",
            "duplicates across the split: splits messages, not groups",
            objective="O13.1",
            replace=(KEPT, "kept = np.arange(len(labels))"),
            loses=[LEAK],
        ),
        wrong(
            "not-shuffled",
            "cuts without shuffling: the test part is all spam",
            objective="O13.1",
            replace=(SHUFFLE, "order = chosen"),
            loses=[BALANCE],
        ),
        wrong(
            "first-ones",
            "keeps the first ham messages in place of a draw",
            objective="O13.1",
            replace=("rng.permutation(ham)[:size]", "ham[:size]"),
            loses=[BALANCE],
        ),
        wrong(
            "ignores-seed",
            "uses a seed of its own: the draw is always the same",
            objective="O13.1",
            replace=("np.random.default_rng(seed)", "np.random.default_rng(0)"),
            loses=[BALANCE],
        ),
        wrong(
            "rounded",
            "rounds the sizes: 1046 instead of 1045",
            objective="O13.1",
            replace=(
                "ends = n * 7 // 10, n * 7 // 10 + n // 10",
                "ends = round(0.7 * n), round(0.7 * n) + round(0.1 * n)",
            ),
            loses=[SIZES],
        ),
        wrong(
            "spam-is-rare",
            "takes for granted that spam is the rarer class",
            objective="O13.1",
            replace=("size = min(len(ham), len(spam))", "size = len(spam)"),
            loses=[BALANCE],
        ),
        wrong(
            "balances-training-only",
            "splits first and balances the training part alone",
            objective="O13.1",
            source=(
                "def prepare(labels, groups, seed):\n"
                "    rng, labels = np.random.default_rng(seed), np.asarray(labels)\n"
                "    kept = np.unique(np.asarray(groups), return_index=True)[1]\n"
                "    order = rng.permutation(kept)\n"
                "    n = len(order)\n"
                "    ends = n * 7 // 10, n * 7 // 10 + n // 10\n"
                "    train = order[: ends[0]]\n"
                "    size = min((labels[train] == 0).sum(), (labels[train] == 1).sum())\n"
                "    train = np.concatenate(\n"
                "        [train[labels[train] == 0][:size], train[labels[train] == 1][:size]]\n"
                "    )\n"
                "    return rng.permutation(train), order[ends[0] : ends[1]], order[ends[1] :]\n"
            ),
            loses=[BALANCE, SIZES],
        ),
        right(
            "random-of-each-group",
            "keeps a random message of each group, in plain Python",
            source=(
                "def prepare(labels, groups, seed):\n"
                "    rng = np.random.default_rng(seed)\n"
                "    one = {}\n"
                "    for i in rng.permutation(len(labels)).tolist():\n"
                "        one.setdefault(int(groups[i]), i)\n"
                "    by_class = [[i for i in one.values() if labels[i] == k] for k in (0, 1)]\n"
                "    size = min(map(len, by_class))\n"
                "    pool = [i for some in by_class for i in some[:size]]\n"
                "    rng.shuffle(pool)\n"
                "    a, b = 7 * len(pool) // 10, len(pool) // 10\n"
                "    return [pool[:a], pool[a : a + b], pool[a + b :]]\n"
            ),
        ),
        right(
            "class-by-class",
            "np.split, and choice without repeats",
            source=(
                "def prepare(labels, groups, seed):\n"
                "    rng = np.random.default_rng(seed)\n"
                "    kept = np.unique(groups, return_index=True)[1]\n"
                "    kinds = np.asarray(labels)[kept]\n"
                "    size = np.bincount(kinds, minlength=2).min()\n"
                "    drawn = np.concatenate(\n"
                "        [rng.choice(kept[kinds == k], size, replace=False) for k in (1, 0)]\n"
                "    )\n"
                "    rng.shuffle(drawn)\n"
                "    n = len(drawn)\n"
                "    return tuple(np.split(drawn, [n * 7 // 10, n * 7 // 10 + n // 10]))\n"
            ),
        ),
    ],
    "batch": [
        wrong(
            "by-value",
            "takes every padding id for padding, also inside a text",
            objective="O13.2",
            replace=("return ids, lengths", "return ids, (ids != pad_id).sum(dim=1)"),
            loses=[CUT],
        ),
        wrong(
            "fixed-width",
            "always pads to max_length",
            objective="O13.2",
            replace=("int(lengths.max())", "max_length"),
            loses=[ROWS],
        ),
        wrong(
            "shortest",
            "truncates to the shortest message",
            objective="O13.2",
            replace=(
                "rows = [list(sequence)[:max_length] for sequence in sequences]",
                "max_length = min(max_length, *(len(s) for s in sequences))\n"
                "    rows = [list(sequence)[:max_length] for sequence in sequences]",
            ),
            loses=[ROWS, CUT],
        ),
        wrong(
            "on-the-left",
            "pads on the left",
            objective="O13.2",
            replace=("ids[number, : len(row)]", "ids[number, ids.shape[1] - len(row) :]"),
            loses=[ROWS, CUT],
        ),
        wrong(
            "keeps-the-end",
            "keeps the end of a long message",
            objective="O13.2",
            replace=("[:max_length]", "[-max_length:]"),
            loses=[CUT],
        ),
        wrong(
            "lengths-before-cut",
            "measures the lengths before cutting",
            objective="O13.2",
            replace=(
                "return ids, lengths",
                "return ids, torch.tensor([len(sequence) for sequence in sequences])",
            ),
            loses=[CUT],
        ),
        wrong(
            "never-cuts",
            "does not cut: a long message breaks the model's context",
            objective="O13.2",
            replace=("list(sequence)[:max_length]", "list(sequence)"),
            loses=[CUT],
        ),
        right(
            "pad-sequence",
            "torch's own padding",
            source=(
                "def make_batch(sequences, pad_id, max_length):\n"
                "    rows = [torch.tensor(s[:max_length]) for s in sequences]\n"
                "    ids = nn.utils.rnn.pad_sequence(\n"
                "        rows, batch_first=True, padding_value=pad_id\n"
                "    )\n"
                "    return ids, torch.tensor([len(row) for row in rows])\n"
            ),
        ),
        right(
            "lists",
            "lists first, tensors at the end",
            source=(
                "def make_batch(sequences, pad_id, max_length):\n"
                "    lengths = [min(len(s), max_length) for s in sequences]\n"
                "    T = max(lengths)\n"
                "    rows = [\n"
                "        list(s[:n]) + [pad_id] * (T - n) for s, n in zip(sequences, lengths)\n"
                "    ]\n"
                "    return torch.tensor(rows), torch.tensor(lengths)\n"
            ),
        ),
    ],
    "pool": [
        wrong(
            "last-column",
            "reads the last column: padding for all messages but the longest",
            objective="O13.3",
            replace=("return x[rows, lengths - 1]", "return x[:, -1]"),
            loses=[TOKEN],
        ),
        wrong(
            "first-token",
            "head on the first token of a causal model: it has seen nothing",
            objective="O13.3",
            replace=("return x[rows, lengths - 1]", "return x[:, 0]"),
            loses=[TOKEN],
        ),
        wrong(
            "one-too-far",
            "reads the place after the last real token",
            objective="O13.3",
            replace=(
                "return x[rows, lengths - 1]",
                "return x[rows, lengths.clamp(max=x.shape[1] - 1)]",
            ),
            loses=[TOKEN],
        ),
        wrong(
            "longest-for-all",
            "takes the longest message's last place for all",
            objective="O13.3",
            replace=("return x[rows, lengths - 1]", "return x[rows, lengths.max() - 1]"),
            loses=[TOKEN],
        ),
        wrong(
            "counts-padding",
            "padding counts in the mean",
            objective="O13.3",
            replace=(
                "return (x * real[:, :, None]).sum(dim=1) / lengths[:, None]",
                "return x.mean(dim=1)",
            ),
            loses=[MEAN],
        ),
        wrong(
            "divides-by-width",
            "the sum is right, but it is divided by the width",
            objective="O13.3",
            replace=(
                "return (x * real[:, :, None]).sum(dim=1) / lengths[:, None]",
                "return (x * real[:, :, None]).mean(dim=1)",
            ),
            loses=[MEAN],
        ),
        wrong(
            "mean-without-last",
            "leaves the last real token out of the mean",
            objective="O13.3",
            replace=(
                "torch.arange(x.shape[1]) < lengths[:, None]",
                "torch.arange(x.shape[1]) < lengths[:, None] - 1",
            ),
            loses=[MEAN],
        ),
        right(
            "loop",
            "message by message",
            source=(
                "def pool(x, lengths, how):\n"
                "    rows = [row[: int(n)] for row, n in zip(x, lengths)]\n"
                '    read = {"last": lambda r: r[-1], "first": lambda r: r[0]}\n'
                '    read["mean"] = lambda r: r.mean(dim=0)\n'
                "    return torch.stack([read[how](row) for row in rows])\n"
            ),
        ),
        right(
            "weights",
            "one matrix of weights for all three, and gather",
            source=(
                "def pool(x, lengths, how):\n"
                '    if how in ("last", "first"):\n'
                '        place = lengths - 1 if how == "last" else torch.zeros_like(lengths)\n'
                "        index = place[:, None, None].expand(-1, 1, x.shape[2])\n"
                "        return x.gather(1, index)[:, 0]\n"
                "    real = (torch.arange(x.shape[1])[None] < lengths[:, None]).to(x.dtype)\n"
                "    share = real / real.sum(dim=1, keepdim=True)\n"
                '    return torch.einsum("bt,btc->bc", share, x)\n'
            ),
        ),
    ],
    "adapt": [
        wrong(
            "freezes-last",
            "freezes after the new head is made: the head is frozen, too",
            objective="O13.3",
            source=(
                ADAPT_HEAD + "    model.head = nn.Linear(width, n_classes, bias=False)\n"
                "    for parameter in model.parameters():\n"
                '        parameter.requires_grad_(train == "all")\n'
                '    if train == "last-block":\n'
                "        for part in (model.blocks[-1], model.final_norm):\n"
                "            for parameter in part.parameters():\n"
                "                parameter.requires_grad_(True)\n"
                "    return model\n"
            ),
            loses=[HEAD, LAYERS],
        ),
        wrong(
            "on-modules",
            "sets requires_grad on modules, where it does nothing",
            objective="O13.3",
            replace=(
                "            for parameter in part.parameters():\n"
                "                parameter.requires_grad_(True)",
                "            part.requires_grad = True",
            ),
            loses=[LAYERS],
        ),
        wrong(
            "forgets-norm",
            "leaves the final norm frozen",
            objective="O13.3",
            replace=("(model.blocks[-1], model.final_norm)", "(model.blocks[-1],)"),
            loses=[LAYERS],
        ),
        wrong(
            "first-block",
            "trains the first block instead of the last",
            objective="O13.3",
            replace=("model.blocks[-1]", "model.blocks[0]"),
            loses=[LAYERS],
        ),
        wrong(
            "never-unfreezes",
            "only ever freezes: a second call with all stays frozen",
            objective="O13.3",
            replace=(
                FREEZE,
                'parameter.requires_grad_(parameter.requires_grad and train == "all")',
            ),
            loses=[HEAD],
        ),
        wrong(
            "eval-is-freezing",
            "takes eval() for freezing",
            objective="O13.3",
            replace=(
                "    for parameter in model.parameters():\n"
                '        parameter.requires_grad_(train == "all")\n',
                "    model.eval()\n",
            ),
            loses=[HEAD, LAYERS],
        ),
        wrong(
            "two-classes",
            "always makes two outputs",
            objective="O13.3",
            replace=("nn.Linear(width, n_classes, bias=False)", "nn.Linear(width, 2, bias=False)"),
            loses=[HEAD],
        ),
        wrong(
            "keeps-tied-head",
            "cuts the tied head down instead of replacing it: the embedding goes with it",
            objective="O13.3",
            source=(
                "def adapt(model, n_classes, train):\n"
                "    for parameter in model.parameters():\n"
                '        parameter.requires_grad_(train == "all")\n'
                "    for parameter in model.head.parameters():\n"
                "        parameter.requires_grad_(True)\n"
                '    if train == "last-block":\n'
                "        for part in (model.blocks[-1], model.final_norm):\n"
                "            for parameter in part.parameters():\n"
                "                parameter.requires_grad_(True)\n"
                "    return model\n"
            ),
            loses=[HEAD, LAYERS],
        ),
        right(
            "by-name",
            "decides by the parameters' names",
            source=(
                "def adapt(model, n_classes, train):\n"
                "    C = model.token_embedding.weight.shape[1]\n"
                "    model.head = nn.Linear(C, n_classes, bias=False)\n"
                '    last = f"blocks.{len(model.blocks) - 1}."\n'
                '    parts = {"head": ("head.",), "all": ("",)}\n'
                '    parts["last-block"] = ("head.", "final_norm.", last)\n'
                "    for name, parameter in model.named_parameters():\n"
                "        parameter.requires_grad = name.startswith(parts[train])\n"
                "    return model\n"
            ),
        ),
        right(
            "module-method",
            "the module's own requires_grad_ method, which does reach the parameters",
            source=(
                ADAPT_HEAD + "    model.requires_grad_(False)\n"
                "    model.head = nn.Linear(width, n_classes, bias=False)\n"
                '    if train == "last-block":\n'
                "        model.blocks[-1].requires_grad_(True)\n"
                "        model.final_norm.requires_grad_(True)\n"
                '    elif train == "all":\n'
                "        model.requires_grad_(True)\n"
                "    return model\n"
            ),
        ),
    ],
    "measure": [
        wrong(
            "mean-of-means",
            "averages the batches: the small last one counts as much as a full one",
            objective="O13.4",
            source=(
                "def measure(model, batches):\n"
                "    mode = model.training\n"
                "    model.eval()\n"
                "    losses, rates = [], []\n"
                "    with torch.no_grad():\n"
                "        for ids, lengths, labels in batches:\n"
                "            logits, real = model(ids, lengths), labels != -100\n"
                "            losses.append(float(F.cross_entropy(logits, labels)))\n"
                "            hits = (logits.argmax(dim=-1) == labels)[real]\n"
                "            rates.append(float(hits.double().mean()))\n"
                "    model.train(mode)\n"
                "    return sum(losses) / len(losses), sum(rates) / len(rates)\n"
            ),
            loses=[MEANS, FILLER],
        ),
        wrong(
            "counts-filler",
            "padding counted in the loss: divides by all rows, filler included",
            objective="O13.4",
            replace=("count += int(real.sum())", "count += len(labels)"),
            loses=[FILLER],
        ),
        wrong(
            "filler-is-ham",
            "gives filler rows a label, and trains on them",
            objective="O13.4",
            replace=(
                "logits = model(ids, lengths)",
                "labels = labels.clamp(min=0)\n            logits = model(ids, lengths)",
            ),
            loses=[FILLER],
        ),
        wrong(
            "dropout-on",
            "stays in training mode: dropout spoils the numbers",
            objective="O13.4",
            replace=("    model.eval()\n", ""),
            loses=[MODE],
        ),
        wrong(
            "left-in-eval",
            "leaves the model in eval mode",
            objective="O13.4",
            replace=("    model.train(mode)\n", ""),
            loses=[MODE],
        ),
        wrong(
            "always-train",
            "sets training mode at the end, whatever it was",
            objective="O13.4",
            replace=("model.train(mode)", "model.train()"),
            loses=[MODE],
        ),
        wrong(
            "keeps-the-graph",
            "takes eval() for no_grad(): gradients are recorded",
            objective="O13.4",
            replace=("with torch.no_grad():", "with torch.enable_grad():"),
            loses=[MODE],
        ),
        wrong(
            "percent",
            "gives the accuracy in percent",
            objective="O13.4",
            replace=("total / count, right / count", "total / count, 100 * right / count"),
            loses=[MEANS, FILLER, MODE],
        ),
        wrong(
            "argmax-over-the-batch",
            "takes the argmax along the batch",
            objective="O13.4",
            replace=(
                "right += int((logits.argmax(dim=-1) == labels)[real].sum())",
                "right += int((logits.argmax(dim=0)[0] == labels)[real].sum())",
            ),
            loses=[MEANS, FILLER, MODE],
        ),
        right(
            "all-at-once",
            "collects all logits first, in inference mode",
            source=(
                "def measure(model, batches):\n"
                "    was_training = bool(model.training)\n"
                "    model.train(False)\n"
                "    try:\n"
                "        with torch.inference_mode():\n"
                "            logits = torch.cat([model(b[0], b[1]) for b in batches])\n"
                "        labels = torch.cat([b[2] for b in batches])\n"
                "        keep = labels >= 0\n"
                "        logits, labels = logits[keep], labels[keep]\n"
                "        loss = F.cross_entropy(logits, labels).item()\n"
                "        share = (logits[:, 1] > logits[:, 0]).long().eq(labels).double().mean()\n"
                "        return loss, share.item()\n"
                "    finally:\n"
                "        model.train(was_training)\n"
            ),
        ),
        right(
            "log-softmax",
            "log-probabilities by hand, as tensors",
            source=(
                "@torch.no_grad()\n"
                "def measure(model, batches):\n"
                "    before = model.training\n"
                "    model.eval()\n"
                "    sums = torch.zeros(3, dtype=torch.float64)\n"
                "    for ids, lengths, labels in batches:\n"
                "        log_p = torch.log_softmax(model(ids, lengths), dim=1)\n"
                "        for row, label in zip(log_p, labels.tolist()):\n"
                "            if label != -100:\n"
                "                hit = float(int(row.argmax()) == label)\n"
                "                sums += torch.tensor([-float(row[label]), hit, 1.0])\n"
                "    model.train(before)\n"
                "    return sums[0] / sums[2], sums[1] / sums[2]\n"
            ),
        ),
    ],
    "threshold": [
        wrong(
            "stops-early",
            "stops at the first threshold that breaks the promise",
            objective="O13.6",
            replace=(
                "if hits > most and hits / int(called.sum()) >= min_precision:\n",
                "if hits / int(called.sum()) < min_precision:\n"
                "            break\n"
                "        if hits > most:\n",
            ),
            loses=[BEST],
        ),
        wrong(
            "strictly-above",
            "calls a message spam only above the threshold",
            objective="O13.6",
            source=(
                "def choose_threshold(p_spam, labels, min_precision):\n"
                "    p, truth = np.asarray(p_spam), np.asarray(labels) == 1\n"
                "    best, most = None, 0\n"
                "    for candidate in sorted(set(p.tolist()), reverse=True):\n"
                "        called = p > candidate\n"
                "        hits = int((called & truth).sum())\n"
                "        if hits > most and hits / int(called.sum()) >= min_precision:\n"
                "            best, most = candidate, hits\n"
                "    return best\n"
            ),
            loses=[BEST, TIES],
        ),
        wrong(
            "most-precision",
            "looks for the most precision instead of the most recall",
            objective="O13.6",
            source=(
                "def choose_threshold(p_spam, labels, min_precision):\n"
                "    p, truth = np.asarray(p_spam), np.asarray(labels) == 1\n"
                "    found = [(truth[p >= t].mean(), t) for t in sorted(set(p.tolist()))]\n"
                "    found = [one for one in found if one[0] >= min_precision]\n"
                "    return max(found)[1] if found else None\n"
            ),
            loses=[BEST, TIES],
        ),
        wrong(
            "lowest-of-equal",
            "of equally good ones the lowest",
            objective="O13.6",
            replace=("hits > most and", "hits >= most and"),
            loses=[BEST],
        ),
        wrong(
            "cuts-ties",
            "goes message by message, and cuts through equal probabilities",
            objective="O13.6",
            source=(
                "def choose_threshold(p_spam, labels, min_precision):\n"
                "    p, truth = np.asarray(p_spam), np.asarray(labels) == 1\n"
                "    best, most, hits = None, 0, 0\n"
                "    for k, i in enumerate(np.lexsort((~truth, -p)), start=1):\n"
                "        hits += int(truth[i])\n"
                "        if hits > most and hits / k >= min_precision:\n"
                "            best, most = float(p[i]), hits\n"
                "    return best\n"
            ),
            loses=[TIES],
        ),
        wrong(
            "default-half",
            "gives 0.5 where the promise cannot be kept",
            objective="O13.6",
            replace=("best, most = None, 0", "best, most = 0.5, 0"),
            loses=[TIES],
        ),
        wrong(
            "precision-of-all",
            "divides the hits by all messages, not by the called ones",
            objective="O13.6",
            replace=("hits / int(called.sum())", "hits / len(p)"),
            loses=[BEST, TIES],
        ),
        right(
            "vectorised",
            "a table of all candidates by messages",
            source=(
                "def choose_threshold(p_spam, labels, min_precision):\n"
                "    p, y = np.asarray(p_spam, float), np.asarray(labels)\n"
                "    limits = np.unique(p)[::-1]\n"
                "    called = p[None, :] >= limits[:, None]\n"
                "    hits = (called * (y == 1)).sum(axis=1)\n"
                "    fine = (hits >= min_precision * called.sum(axis=1) - 1e-12) & (hits > 0)\n"
                "    if not fine.any():\n"
                "        return None\n"
                "    return limits[np.where(fine, hits, -1).argmax()]\n"
            ),
        ),
        right(
            "cumulative",
            "sorted once, with cumulated counts at the ends of ties",
            source=(
                "def choose_threshold(p_spam, labels, min_precision):\n"
                "    rows = sorted(zip(map(float, p_spam), map(int, labels)), reverse=True)\n"
                "    best, most, hits = None, 0, 0\n"
                "    for k, (p, y) in enumerate(rows):\n"
                "        hits += y\n"
                "        if k + 1 < len(rows) and rows[k + 1][0] == p:\n"
                "            continue\n"
                "        if hits / (k + 1) >= min_precision and hits > most:\n"
                "            best, most = p, hits\n"
                "    return best\n"
            ),
        ),
    ],
    "interval": [
        wrong(
            "plain",
            "plus and minus 1.96 standard errors",
            objective="O13.5",
            source=(
                "def interval(right, n):\n"
                "    p = right / n\n"
                "    half = 1.96 * math.sqrt(p * (1 - p) / n)\n"
                "    return p - half, p + half\n"
            ),
            loses=INTERVAL,
        ),
        wrong(
            "one-root-term",
            "forgets the second term under the root",
            objective="O13.5",
            replace=("p * (1 - p) / n + z * z / (4 * n * n)", "p * (1 - p) / n"),
            loses=INTERVAL,
        ),
        wrong(
            "no-scale",
            "does not divide by 1 + z²/n",
            objective="O13.5",
            replace=("scale = 1 + z * z / n", "scale = 1.0"),
            loses=INTERVAL,
        ),
        wrong(
            "one-standard-error",
            "z = 1: an interval of 68 %",
            objective="O13.5",
            replace=("z, p = 1.96, right / n", "z, p = 1.0, right / n"),
            loses=INTERVAL,
        ),
        wrong(
            "around-the-rate",
            "puts Wilson's width around the rate itself",
            objective="O13.5",
            replace=("middle = p + z * z / (2 * n)", "middle = p"),
            loses=INTERVAL,
        ),
        wrong(
            "z-not-squared",
            "z instead of its square under the root",
            objective="O13.5",
            replace=("z * z / (4 * n * n)", "z / (4 * n * n)"),
            loses=INTERVAL,
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O13.5",
            source=(
                "from xor2gpt.evaluate import wilson\n\n\n"
                "def interval(right, n):\n"
                "    return tuple(wilson(right, n))[1:]\n"
            ),
            loses=INTERVAL,
        ),
        right(
            "quadratic",
            "solves the quadratic equation that the ends obey",
            source=(
                "def interval(right, n):\n"
                "    z2 = 1.96**2\n"
                "    a, b, c = n + z2, -(2 * right + z2), right * right / n\n"
                "    root = math.sqrt(max(0.0, b * b - 4 * a * c))\n"
                "    return [(-b - root) / (2 * a), (-b + root) / (2 * a)]\n"
            ),
        ),
        right(
            "counts",
            "the same formula in counts, as an array",
            source=(
                "def interval(right, n):\n"
                "    z = 1.96\n"
                "    wrong_ones = n - right\n"
                "    half = z * math.sqrt(right * wrong_ones / n + z**2 / 4)\n"
                "    return (right + z**2 / 2 + np.array([-half, half])) / (n + z**2)\n"
            ),
        ),
    ],
    "classify": [
        wrong(
            "argmax",
            "takes the argmax and ignores the threshold",
            objective="O13.7",
            replace=(
                '("spam" if p >= threshold else "not spam")',
                '("spam" if logits.argmax() == 1 else "not spam")',
            ),
            loses=[LABEL],
        ),
        wrong(
            "p-of-ham",
            "gives the probability of ham",
            objective="O13.7",
            replace=("logits.softmax(dim=-1)[0, 1]", "logits.softmax(dim=-1)[0, 0]"),
            loses=[LABEL],
        ),
        wrong(
            "logit",
            "gives the logit instead of the probability",
            objective="O13.7",
            replace=("logits.softmax(dim=-1)[0, 1]", "logits[0, 1]"),
            loses=[LABEL],
        ),
        wrong(
            "training-mode",
            "leaves dropout on",
            objective="O13.7",
            replace=("    model.eval()\n", ""),
            loses=[LABEL],
        ),
        wrong(
            "ignores-context",
            "cuts to max_length only: a long text breaks the model",
            objective="O13.7",
            replace=("min(max_length, model.context_length)", "max_length"),
            loses=[LENGTH],
        ),
        wrong(
            "keeps-the-end",
            "reads the end of a long text",
            objective="O13.7",
            replace=(
                "[: min(max_length, model.context_length)]",
                "[-min(max_length, model.context_length) :]",
            ),
            loses=[LENGTH],
        ),
        wrong(
            "empty-breaks",
            "asks the model about an empty text",
            objective="O13.7",
            replace=('    if not ids:\n        return "not spam", 0.0\n', ""),
            loses=[LENGTH],
        ),
        wrong(
            "padded-length",
            "pads to max_length and says that all of it is real",
            objective="O13.7",
            replace=(
                "    mode = model.training",
                "    ids = ids + [0] * (min(max_length, model.context_length) - len(ids))\n"
                "    mode = model.training",
            ),
            loses=[LENGTH],
        ),
        wrong(
            "keeps-the-graph",
            "records gradients and takes eval for enough",
            objective="O13.7",
            replace=("with torch.no_grad():", "with torch.enable_grad():"),
            loses=[LABEL],
        ),
        right(
            "sigmoid",
            "sigmoid of the difference of the logits",
            source=(
                "@torch.no_grad()\n"
                "def classify(text, encode, model, max_length, threshold):\n"
                "    tokens = encode(text)\n"
                "    n = min(len(tokens), max_length, model.context_length)\n"
                "    if n == 0:\n"
                '        return ["not spam", 0.0]\n'
                "    was = model.training\n"
                "    model.train(False)\n"
                "    ham, spam = model(torch.tensor(tokens[:n])[None], torch.tensor([n]))[0]\n"
                "    model.train(was)\n"
                "    p = torch.sigmoid(spam - ham).item()\n"
                '    return ["not spam", "spam"][p >= threshold], p\n'
            ),
        ),
        right(
            "inference-mode",
            "inference mode, probabilities in Python",
            source=(
                "def classify(text, encode, model, max_length, threshold):\n"
                "    ids = torch.as_tensor(encode(text), dtype=torch.long)[:max_length]\n"
                "    ids = ids[: model.context_length]\n"
                "    if not len(ids):\n"
                '        return "not spam", 0.0\n'
                "    before, _ = model.training, model.eval()\n"
                "    with torch.inference_mode():\n"
                "        a, b = model(ids.unsqueeze(0), torch.tensor([len(ids)])).tolist()[0]\n"
                "    model.train(before)\n"
                "    p = math.exp(b) / (math.exp(a) + math.exp(b))\n"
                '    name = "not spam"\n'
                "    if p >= threshold:\n"
                '        name = "spam"\n'
                "    return name, p\n"
            ),
        ),
    ],
}
NBGRADER = [
    "reference",
    "stub",
    "prepare/copies-first",
    "pool/weights",
]  # these four also run through nbgrader
