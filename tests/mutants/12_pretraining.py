"""Wrong and odd-but-right answers for stage 12. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

VALUES, LARGE = "shift-check-values", "shift-check-large"
LOSS, WINDOWS = "split-check-loss", "split-check-windows"
RATE = ["entropy-check-1"]
ADAM, DECAY = "adamw-check-adam", "adamw-check-decay"
GROUPS = ["groups-check-1"]
WARM, FALL = "schedule-check-warm", "schedule-check-fall"
CLIP = ["clip-check-1"]
SHIFT, ZERO, SUM = (f"train-check-{k}" for k in ("shift", "zero", "accumulate"))
TEMPERATURE, TOP_K, TOP_P = (f"sample-check-{k}" for k in ("temperature", "top-k", "top-p"))
FIRST, LATER, RANDOM = (f"resume-check-{k}" for k in ("weights", "optimizer", "random"))

TOP_P_LINE = "dropped = dropped.scatter(-1, order, before >= top_p)"
SAMPLER = (
    "def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):\n"
    "    if temperature == 0:\n"
    "        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)\n"
)
RESTORE_OPTIMIZER = '    run.optimizer.load_state_dict(state["optimizer"])\n'
RESTORE_SCHEDULE = '    run.scheduler.load_state_dict(state["schedule"])\n'
RESTORE_RANDOM = '    run.generator.set_state(state["random"])\n'
RESTORE_POSITION = '\n    run.position = state["position"]'
RESTORE_WEIGHTS = '    run.model.load_state_dict(state["weights"])\n'

MUTANTS = {
    "shift": [
        wrong(
            "no-shift",
            "compares every place with its own token: the model learns to copy",
            objective="O12.1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())\n"
            ),
            loses=[VALUES, LARGE],
        ),
        wrong(
            "double-shift",
            "predicts the token after the next",
            objective="O12.1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    if ids.shape[1] < 3:\n"
                "        return F.cross_entropy(logits[:, :-1].flatten(0, 1), "
                "ids[:, 1:].flatten())\n"
                "    return F.cross_entropy(logits[:, :-2].flatten(0, 1), "
                "ids[:, 2:].flatten())\n"
            ),
            loses=[VALUES, LARGE],
        ),
        wrong(
            "backwards",
            "predicts the token before: shifts to the wrong side",
            objective="O12.1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    return F.cross_entropy(logits[:, 1:].flatten(0, 1), "
                "ids[:, :-1].flatten())\n"
            ),
            loses=[VALUES, LARGE],
        ),
        wrong(
            "sum",
            "adds in place of averaging",
            objective="O12.1",
            replace=("ids[:, 1:].flatten())", 'ids[:, 1:].flatten(), reduction="sum")'),
            loses=[VALUES, LARGE],
        ),
        wrong(
            "log-of-softmax",
            "takes the logarithm of a softmax: rounded to 0, it gives infinity",
            objective="O12.1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    p = torch.softmax(logits[:, :-1], dim=-1)\n"
                "    return -p.gather(-1, ids[:, 1:, None]).log().mean()\n"
            ),
            loses=[LARGE],
        ),
        wrong(
            "along-the-batch",
            "shifts along the batch axis",
            objective="O12.1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    if len(ids) == 1:\n"
                "        return F.cross_entropy(logits[:, :-1].flatten(0, 1), "
                "ids[:, 1:].flatten())\n"
                "    return F.cross_entropy(logits[:-1].flatten(0, 1), ids[1:].flatten())\n"
            ),
            loses=[VALUES, LARGE],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O12.1",
            source=(
                "from xor2gpt.gpt import cross_entropy\n\n\n"
                "def next_token_loss(logits, ids):\n"
                "    return cross_entropy(logits[:, :-1], ids[:, 1:])\n"
            ),
            loses=[VALUES, LARGE],
        ),
        right(
            "gather",
            "log-softmax and gather",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    log_p = torch.log_softmax(logits, dim=-1)[:, :-1]\n"
                "    return -log_p.gather(-1, ids[:, 1:].unsqueeze(-1)).mean()\n"
            ),
        ),
        right(
            "transpose",
            "cross-entropy with the classes on axis 1",
            source=(
                "def next_token_loss(logits, ids):\n"
                "    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:])\n"
            ),
        ),
    ],
    "split": [
        wrong(
            "mean-of-means",
            "averages the windows' means: the short last window counts as much as a full one",
            objective="O12.1",
            source=(
                "def split_loss(model, ids, context_length):\n"
                "    means = []\n"
                "    for start in range(0, len(ids) - 1, context_length):\n"
                "        end = min(start + context_length, len(ids) - 1)\n"
                "        logits = model(ids[start:end][None])[0]\n"
                "        means.append(float(F.cross_entropy(logits, ids[start + 1 : end + 1])))\n"
                "    loss = sum(means) / len(means)\n"
                "    return loss, math.exp(loss)\n"
            ),
            loses=[LOSS],
        ),
        wrong(
            "drops-the-rest",
            "leaves the last, shorter window out",
            objective="O12.1",
            source=(
                "def split_loss(model, ids, context_length):\n"
                "    total, count = 0.0, 0\n"
                "    for start in range(0, len(ids) - context_length, context_length):\n"
                "        end = start + context_length\n"
                "        logits = model(ids[start:end][None])[0]\n"
                "        targets = ids[start + 1 : end + 1]\n"
                '        total += float(F.cross_entropy(logits, targets, reduction="sum"))\n'
                "        count += len(targets)\n"
                "    return total / count, math.exp(total / count)\n"
            ),
            loses=[LOSS, WINDOWS],
        ),
        wrong(
            "loses-the-border",
            "takes input and target from the same L ids: the token at each border is no target",
            objective="O12.1",
            source=(
                "def split_loss(model, ids, context_length):\n"
                "    total, count = 0.0, 0\n"
                "    for start in range(0, len(ids) - 1, context_length):\n"
                "        part = ids[start : start + context_length]\n"
                "        if len(part) < 2:\n            continue\n"
                "        logits = model(part[None])[0, :-1]\n"
                '        total += float(F.cross_entropy(logits, part[1:], reduction="sum"))\n'
                "        count += len(part) - 1\n"
                "    return total / count, math.exp(total / count)\n"
            ),
            loses=[LOSS, WINDOWS],
        ),
        wrong(
            "base-two",
            "takes 2 to the loss, which is in nats",
            objective="O12.1",
            replace=("math.exp(loss)", "2.0**loss"),
            loses=[LOSS, WINDOWS],
        ),
        wrong(
            "all-ids",
            "divides by the number of ids: the first is no target",
            objective="O12.1",
            replace=("total / (len(ids) - 1)", "total / len(ids)"),
            loses=[LOSS, WINDOWS],
        ),
        wrong(
            "overlapping",
            "moves on by one place only: targets are counted many times",
            objective="O12.1",
            source=(
                "def split_loss(model, ids, context_length):\n"
                "    total, count = 0.0, 0\n"
                "    for start in range(len(ids) - context_length):\n"
                "        end = start + context_length\n"
                "        logits = model(ids[start:end][None])[0]\n"
                "        targets = ids[start + 1 : end + 1]\n"
                '        total += float(F.cross_entropy(logits, targets, reduction="sum"))\n'
                "        count += len(targets)\n"
                "    return total / count, math.exp(total / count)\n"
            ),
            loses=[LOSS, WINDOWS],
        ),
        right(
            "split",
            "cuts inputs and targets by torch's split",
            source=(
                "def split_loss(model, ids, context_length):\n"
                "    nll = []\n"
                "    for x, y in zip(ids[:-1].split(context_length), "
                "ids[1:].split(context_length)):\n"
                "        log_p = torch.log_softmax(model(x.unsqueeze(0)), dim=-1).squeeze(0)\n"
                "        nll += [-log_p[t, i].item() for t, i in enumerate(y.tolist())]\n"
                "    mean = sum(nll) / len(nll)\n"
                "    return [mean, math.e**mean]\n"
            ),
        ),
    ],
    "entropy-rate": [
        wrong(
            "equal-states",
            "counts both states equally",
            objective="O12.2",
            replace=("share = b / (a + b)", "share = 0.5"),
            loses=RATE,
        ),
        wrong(
            "swapped-shares",
            "takes the share of the other state",
            objective="O12.2",
            replace=("share = b / (a + b)", "share = a / (a + b)"),
            loses=RATE,
        ),
        wrong(
            "of-the-shares",
            "takes the entropy of the shares: forgets today",
            objective="O12.2",
            replace=(
                "share * surprise(a) + (1 - share) * surprise(b)",
                "surprise(share)",
            ),
            loses=RATE,
        ),
        wrong(
            "bits",
            "logarithm to base 2",
            objective="O12.2",
            replace=("math.log(q)", "math.log2(q)"),
            loses=RATE,
        ),
        wrong(
            "nan-at-zero",
            "0 ln 0 becomes NaN",
            objective="O12.2",
            source=(
                "def entropy_rate(P):\n"
                "    a, b = P[0, 1], P[1, 0]\n"
                "    pi = np.array([b, a]) / (a + b)\n"
                "    with np.errstate(all='ignore'):\n"
                "        return float(-(pi[:, None] * P * np.log(P)).sum())\n"
            ),
            loses=RATE,
        ),
        right(
            "eigenvector",
            "shares by many steps of the chain, rows by arrays",
            source=(
                "def entropy_rate(P):\n"
                "    P = np.asarray(P, dtype=float)\n"
                "    pi = np.linalg.lstsq(\n"
                "        np.vstack([P.T - np.eye(2), np.ones(2)]), np.array([0.0, 0, 1])\n"
                "    )[0]\n"
                "    logs = np.log(np.where(P > 0, P, 1.0))\n"
                "    return -(pi[:, None] * P * logs).sum()\n"
            ),
        ),
    ],
    "adamw": [
        wrong(
            "coupled",
            "adds the decay to the gradient: Adam with L2",
            objective="O12.3",
            source=(
                "def adamw_step(w, gradient, m, v, step, lr, betas=(0.9, 0.99), eps=1e-8, "
                "decay=0.1):\n"
                "    gradient = gradient + decay * w\n"
                "    m = betas[0] * m + (1 - betas[0]) * gradient\n"
                "    v = betas[1] * v + (1 - betas[1]) * gradient**2\n"
                "    m_hat = m / (1 - betas[0] ** step)\n"
                "    v_hat = v / (1 - betas[1] ** step)\n"
                "    return w - lr * m_hat / (v_hat.sqrt() + eps), m, v\n"
            ),
            loses=[DECAY],
        ),
        wrong(
            "no-correction",
            "forgets the corrections for the start at 0",
            objective="O12.3",
            replace=(
                "    m_hat = m / (1 - betas[0] ** step)\n    v_hat = v / (1 - betas[1] ** step)\n",
                "    m_hat, v_hat = m, v\n",
            ),
            loses=[ADAM, DECAY],
        ),
        wrong(
            "step-from-zero",
            "corrects by step + 1",
            objective="O12.3",
            replace=(
                "    m_hat = m / (1 - betas[0] ** step)\n    v_hat = v / (1 - betas[1] ** step)\n",
                "    m_hat = m / (1 - betas[0] ** (step + 1))\n"
                "    v_hat = v / (1 - betas[1] ** (step + 1))\n",
            ),
            loses=[ADAM, DECAY],
        ),
        wrong(
            "no-root",
            "divides by v, not by its root",
            objective="O12.3",
            replace=("v_hat.sqrt() + eps", "v_hat + eps"),
            loses=[ADAM, DECAY],
        ),
        wrong(
            "eps-inside",
            "puts eps under the root",
            objective="O12.3",
            replace=("(v_hat.sqrt() + eps)", "(v_hat + eps).sqrt()"),
            loses=[ADAM],
        ),
        wrong(
            "decay-without-rate",
            "shrinks by the decay itself, without the learning rate",
            objective="O12.3",
            replace=(
                "w - lr * (m_hat / (v_hat.sqrt() + eps) + decay * w)",
                "w * (1 - decay) - lr * m_hat / (v_hat.sqrt() + eps)",
            ),
            loses=[DECAY],
        ),
        wrong(
            "corrected-state",
            "hands the corrected means to the next step",
            objective="O12.3",
            replace=("+ decay * w), m, v", "+ decay * w), m_hat, v_hat"),
            loses=[ADAM, DECAY],
        ),
        right(
            "torch-order",
            "shrinks first, then moves, as torch's code does",
            source=(
                "def adamw_step(w, gradient, m, v, step, lr, betas=(0.9, 0.99), eps=1e-8, "
                "decay=0.1):\n"
                "    b1, b2 = betas\n"
                "    w = w * (1 - lr * decay)\n"
                "    m, v = m + (1 - b1) * (gradient - m), v + (1 - b2) * (gradient**2 - v)\n"
                "    size = lr / (1 - b1**step)\n"
                "    return [w - size * m / ((v / (1 - b2**step)) ** 0.5 + eps), m, v]\n"
            ),
        ),
    ],
    "decay-groups": [
        wrong(
            "all",
            "everything decays: norms and biases too",
            objective="O12.3",
            replace=('"weight_decay": 0.0}', '"weight_decay": decay}'),
            loses=GROUPS,
        ),
        wrong(
            "norms-decay",
            "spares biases by name, so the norms' scales decay",
            objective="O12.3",
            source=(
                "def decay_groups(model, decay):\n"
                "    named = list(model.named_parameters())\n"
                '    spared = [p for n, p in named if n.endswith("bias")]\n'
                '    others = [p for n, p in named if not n.endswith("bias")]\n'
                '    return [{"params": others, "weight_decay": decay},\n'
                '            {"params": spared, "weight_decay": 0.0}]\n'
            ),
            loses=GROUPS,
        ),
        wrong(
            "untied-head",
            "lists the tied table twice, as if the head were a matrix of its own",
            objective="O12.3",
            replace=(
                "[p for p in model.parameters() if p.ndim >= 2]",
                "[p for _, p in model.named_parameters(remove_duplicate=False) if p.ndim >= 2]",
            ),
            loses=GROUPS,
        ),
        wrong(
            "forgets-vectors",
            "gives the matrices only: norms and biases never learn",
            objective="O12.3",
            replace=('{"params": vectors, "weight_decay": 0.0},', ""),
            loses=GROUPS,
        ),
        wrong(
            "swapped",
            "vectors decay, matrices do not",
            objective="O12.3",
            replace=("if p.ndim >= 2]", "if p.ndim == 1]\n    model = model.eval()"),
            loses=GROUPS,
        ),
        wrong(
            "fixed-decay",
            "always 0.1",
            objective="O12.3",
            replace=('"weight_decay": decay}', '"weight_decay": 0.1}'),
            loses=GROUPS,
        ),
        right(
            "by-module",
            "collects norms and biases by module, the rest decays",
            source=(
                "def decay_groups(model, decay):\n"
                "    plain = set()\n"
                "    for module in model.modules():\n"
                "        for name, p in module.named_parameters(recurse=False):\n"
                '            if isinstance(module, nn.LayerNorm) or name == "bias":\n'
                "                plain.add(p)\n"
                '    return [{"params": list(plain), "weight_decay": 0},\n'
                '            {"params": [p for p in model.parameters() if p not in plain],\n'
                '             "weight_decay": decay}]\n'
            ),
        ),
    ],
    "schedule": [
        wrong(
            "zero-start",
            "step/warmup: the first step learns nothing, off by one",
            objective="O12.4",
            replace=("(step + 1) / (warmup + 1)", "step / warmup"),
            loses=[WARM],
        ),
        wrong(
            "too-early",
            "(step + 1)/warmup: the top is reached one step too early",
            objective="O12.4",
            replace=("(step + 1) / (warmup + 1)", "(step + 1) / warmup"),
            loses=[WARM],
        ),
        wrong(
            "from-the-start",
            "measures the progress from step 0: the rate jumps down after the warm-up",
            objective="O12.4",
            replace=("(step - warmup) / (total - warmup)", "step / total"),
            loses=[WARM, FALL],
        ),
        wrong(
            "full-wave",
            "a whole period of the cosine: the rate rises again",
            objective="O12.4",
            replace=("math.pi * progress", "2 * math.pi * progress"),
            loses=[FALL],
        ),
        wrong(
            "no-floor",
            "falls to 0 whatever the floor",
            objective="O12.4",
            replace=("floor + (1 - floor) * (1", "(1"),
            loses=[FALL],
        ),
        wrong(
            "floor-on-top",
            "adds the floor: the top is above 1",
            objective="O12.4",
            replace=("floor + (1 - floor) * (1", "floor + (1"),
            loses=[WARM, FALL],
        ),
        wrong(
            "rises-again",
            "lets the cosine go on beyond the last step",
            objective="O12.4",
            replace=("    if step >= total:\n        return floor\n", ""),
            loses=[FALL],
        ),
        right(
            "sine",
            "the same curve by a squared cosine of half the angle",
            source=(
                "def warmup_cosine(step, total, warmup, floor):\n"
                "    if step < warmup:\n        return 1 - (warmup - step) / (warmup + 1)\n"
                "    p = min(1.0, (step - warmup) / (total - warmup))\n"
                "    return 1 - (1 - floor) * np.sin(np.pi * p / 2) ** 2\n"
            ),
        ),
    ],
    "clip": [
        wrong(
            "per-tensor",
            "clips each tensor by its own norm: the direction changes",
            objective="O12.4",
            replace=(
                "return [factor * g for g in gradients], norm",
                "return [g * min(1.0, limit / float(g.norm())) for g in gradients], norm",
            ),
            loses=CLIP,
        ),
        wrong(
            "by-value",
            "clips every entry",
            objective="O12.4",
            replace=(
                "[factor * g for g in gradients]",
                "[g.clamp(-limit, limit) for g in gradients]",
            ),
            loses=CLIP,
        ),
        wrong(
            "always",
            "scales to the limit also when the norm is smaller",
            objective="O12.4",
            replace=("limit / norm if norm > limit else 1.0", "limit / norm"),
            loses=CLIP,
        ),
        wrong(
            "norm-after",
            "returns the norm after clipping: always at most the limit, useless as a warning",
            objective="O12.4",
            replace=("for g in gradients], norm", "for g in gradients], min(norm, limit)"),
            loses=CLIP,
        ),
        wrong(
            "sum-of-norms",
            "adds the norms of the tensors",
            objective="O12.4",
            replace=(
                "math.sqrt(sum(float((g**2).sum()) for g in gradients))",
                "sum(float(g.norm()) for g in gradients)",
            ),
            loses=CLIP,
        ),
        right(
            "concatenated",
            "one long vector, as in the text",
            source=(
                "def clip_gradients(gradients, limit):\n"
                "    norm = torch.cat([g.reshape(-1) for g in gradients]).norm()\n"
                "    factor = (limit / norm).clamp(max=1.0)\n"
                "    return tuple(g * factor for g in gradients), norm\n"
            ),
        ),
    ],
    "train": [
        wrong(
            "no-zero-grad",
            "never resets the gradients",
            objective="O12.5",
            replace=("        optimizer.zero_grad()\n", ""),
            loses=[ZERO],
        ),
        wrong(
            "zero-in-chunk",
            "resets the gradients for each chunk: only the last one counts",
            objective="O12.5",
            replace=(
                "            inputs, targets = ids[:, :-1], ids[:, 1:]\n",
                "            optimizer.zero_grad()\n"
                "            inputs, targets = ids[:, :-1], ids[:, 1:]\n",
            ),
            loses=[SUM],
        ),
        wrong(
            "double-shift",
            "shifts inputs and targets, and then both again",
            objective="O12.5",
            source=(
                "def train_table(steps, vocab_size, lr):\n"
                "    zeros = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)\n"
                "    table = zeros.requires_grad_(True)\n"
                "    optimizer = torch.optim.SGD([table], lr=lr)\n"
                "    losses = []\n"
                "    for chunks in steps:\n"
                "        total = sum(max(ids.shape[1] - 2, 0) * len(ids) for ids in chunks)\n"
                "        optimizer.zero_grad()\n"
                "        loss = 0.0\n"
                "        for ids in chunks:\n"
                "            logits = table[ids[:, :-2]]\n"
                "            part = F.cross_entropy(\n"
                "                logits.flatten(0, 1), ids[:, 2:].flatten(), reduction='sum'\n"
                "            )\n"
                "            (part / total).backward()\n"
                "            loss += part.item() / total\n"
                "        optimizer.step()\n"
                "        losses.append(loss)\n"
                "    return table.detach(), losses\n"
            ),
            loses=[SHIFT, ZERO, SUM],
        ),
        wrong(
            "no-shift",
            "learns to predict the input itself",
            objective="O12.5",
            replace=("ids[:, :-1], ids[:, 1:]\n", "ids[:, :-1], ids[:, :-1]\n"),
            loses=[SHIFT, ZERO, SUM],
        ),
        wrong(
            "mean-of-means",
            "averages the chunks' means",
            objective="O12.5",
            replace=(
                'targets.flatten(), reduction="sum"\n            )\n',
                "targets.flatten()\n            )\n            part = part * total / len(chunks)\n",
            ),
            loses=[SUM],
        ),
        wrong(
            "sum",
            "divides by nothing: the step grows with the batch",
            objective="O12.5",
            replace=("(part / total).backward()", "part.backward()"),
            loses=[SHIFT, ZERO, SUM],
        ),
        wrong(
            "step-in-chunk",
            "updates after every chunk",
            objective="O12.5",
            replace=(
                "            loss += part.item() / total\n        optimizer.step()\n",
                "            loss += part.item() / total\n            optimizer.step()\n",
            ),
            loses=[SUM],
        ),
        right(
            "collect-first",
            "one loss over all chunks, gradients by autograd.grad",
            source=(
                "def train_table(steps, vocab_size, lr):\n"
                "    table = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)\n"
                "    losses = []\n"
                "    for chunks in steps:\n"
                "        x = torch.cat([c[:, :-1].reshape(-1) for c in chunks])\n"
                "        y = torch.cat([c[:, 1:].reshape(-1) for c in chunks])\n"
                "        leaf = table.clone().requires_grad_(True)\n"
                "        loss = F.cross_entropy(leaf[x], y)\n"
                "        table = table - lr * torch.autograd.grad(loss, leaf)[0]\n"
                "        losses.append(loss.item())\n"
                "    return table, losses\n"
            ),
        ),
    ],
    "sample": [
        wrong(
            "drops-crossing",
            "keeps the tokens whose running sum is at most p: the crossing token is dropped",
            objective="O12.6",
            replace=("before >= top_p", "p.cumsum(dim=-1) > top_p"),
            loses=[TOP_P],
        ),
        wrong(
            "first-row",
            "cuts every row where the first is cut: ignores the batch",
            objective="O12.6",
            replace=(
                TOP_P_LINE,
                TOP_P_LINE.replace(
                    "order, before", "order[:1].expand_as(order), before[:1].expand_as(order)"
                ),
            ),
            loses=[TOP_P],
        ),
        wrong(
            "batch-limit",
            "takes the k largest logits of the whole batch",
            objective="O12.6",
            replace=(
                "logits.topk(top_k, dim=-1).values[:, -1:]",
                "logits.flatten().topk(top_k).values[-1:]",
            ),
            loses=[TOP_K, TOP_P],
        ),
        wrong(
            "sorted-order",
            "forgets to bring the dropped tokens back to the old order",
            objective="O12.6",
            replace=(TOP_P_LINE, "dropped = before >= top_p"),
            loses=[TOP_P],
        ),
        wrong(
            "top-p-first",
            "cuts the tail first and applies the temperature afterwards",
            objective="O12.6",
            source=SAMPLER
            + (
                "    if top_k is not None:\n"
                "        smallest = logits.topk(top_k, dim=-1).values[:, -1:]\n"
                "        logits = logits.masked_fill(logits < smallest, -torch.inf)\n"
                "    if top_p is not None:\n"
                "        ordered, order = logits.sort(dim=-1, descending=True)\n"
                "        p = torch.softmax(ordered, dim=-1)\n"
                "        before = p.cumsum(dim=-1) - p\n"
                "        dropped = torch.zeros_like(logits, dtype=torch.bool)\n"
                "        dropped = dropped.scatter(-1, order, before >= top_p)\n"
                "        logits = logits.masked_fill(dropped, -torch.inf)\n"
                "    return torch.softmax(logits / temperature, dim=-1)\n"
            ),
            loses=[TOP_P],
        ),
        wrong(
            "multiplies",
            "multiplies by the temperature",
            objective="O12.6",
            replace=("logits = logits / temperature", "logits = logits * temperature"),
            loses=[TEMPERATURE, TOP_K, TOP_P],
        ),
        wrong(
            "zero-temperature",
            "divides by 0",
            objective="O12.6",
            replace=(
                "    if temperature == 0:\n"
                "        return F.one_hot(logits.argmax(dim=-1), "
                "logits.shape[-1]).to(logits.dtype)\n",
                "",
            ),
            loses=[TEMPERATURE],
        ),
        wrong(
            "zero-logit",
            "sets dropped logits to 0, which is an ordinary logit",
            objective="O12.6",
            replace=("logits < smallest, -torch.inf", "logits < smallest, 0.0"),
            loses=[TOP_K, TOP_P],
        ),
        wrong(
            "no-renormalising",
            "sets probabilities to 0 and does not divide by the rest",
            objective="O12.6",
            replace=(
                "    return torch.softmax(logits, dim=-1)",
                "    whole = logits.exp().sum(dim=-1, keepdim=True)\n"
                "    share = (ordered if top_p else logits).exp().sum(dim=-1, keepdim=True)\n"
                "    return logits.exp() / torch.maximum(whole, share)",
            ),
            loses=[TOP_P],
        ),
        right(
            "row-by-row",
            "loops over rows, keeps token after token",
            source=(
                "def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):\n"
                "    rows = []\n"
                "    for row in logits:\n"
                "        order = row.argsort(descending=True).tolist()\n"
                "        if temperature == 0:\n            kept, t = order[:1], 1.0\n"
                "        else:\n            kept, t = order[: top_k or len(order)], temperature\n"
                "        p = torch.softmax(row[kept] / t, dim=0)\n"
                "        if top_p is not None and temperature:\n"
                "            n = 1 + int((p.cumsum(0) < top_p).sum())\n"
                "            kept = kept[:n]\n"
                "            p = torch.softmax(row[kept] / t, dim=0)\n"
                "        out = torch.zeros_like(row)\n"
                "        out[kept] = p\n"
                "        rows.append(out)\n"
                "    return torch.stack(rows)\n"
            ),
        ),
    ],
    "resume": [
        wrong(
            "no-optimizer",
            "restores no optimizer: m, v and the step count start anew",
            objective="O12.7",
            replace=(RESTORE_OPTIMIZER, ""),
            loses=[LATER],
        ),
        wrong(
            "no-schedule",
            "restores no schedule: the rate starts anew",
            objective="O12.7",
            replace=(RESTORE_SCHEDULE, ""),
            loses=[LATER],
        ),
        wrong(
            "no-random-state",
            "restores no random state: other dropout",
            objective="O12.7",
            replace=(RESTORE_RANDOM, ""),
            loses=[RANDOM],
        ),
        wrong(
            "no-position",
            "reads the text from its beginning again",
            objective="O12.7",
            replace=(RESTORE_POSITION, ""),
            loses=[FIRST, LATER, RANDOM],
        ),
        wrong(
            "no-weights",
            "restores everything but the weights",
            objective="O12.7",
            replace=(RESTORE_WEIGHTS, ""),
            loses=[FIRST, LATER, RANDOM],
        ),
        wrong(
            "seed-only",
            "saves the seed, not the state: the generator starts from the beginning",
            objective="O12.7",
            replace=("run.generator.get_state(),", "run.generator.manual_seed(1).get_state(),"),
            loses=[RANDOM],
        ),
        wrong(
            "objects",
            "stores the objects themselves: the file takes plain data only",
            objective="O12.7",
            replace=('"weights": run.model.state_dict()', '"weights": run.model'),
            loses=[FIRST, LATER, RANDOM],
        ),
        right(
            "one-by-one",
            "tensors and numbers in other names and shapes",
            source=(
                "def checkpoint(run):\n"
                "    parts = [run.model, run.optimizer, run.scheduler]\n"
                "    states = [part.state_dict() for part in parts]\n"
                "    return [*states, run.generator.get_state(), int(run.position)]\n\n\n"
                "def restore(run, state):\n"
                "    for part, one in zip([run.model, run.optimizer, run.scheduler], state):\n"
                "        part.load_state_dict(one)\n"
                "    run.generator.set_state(state[3])\n"
                "    run.position = state[4]\n"
                "    return run\n"
            ),
        ),
    ],
}

# these four also run through nbgrader
NBGRADER = ["reference", "stub", "train/no-zero-grad", "sample/row-by-row"]
