"""Wrong and odd-but-right answers for stage 6. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

GAIN, ERROR = "paired-gain-check-1", "paired-gain-check-2"
STATISTICS = ["statistics-check-1"]
SIDES, WORK = "stem-check-1", "stem-check-2"
ROWS = ["windows-check-1"]
WINDOW, OWN, RANGE = (f"crop-check-{k}" for k in (1, 2, 3))
BRIGHT, CONTRAST = "jitter-check-1", "jitter-check-2"
UP, DOWN = "one-cycle-check-1", "one-cycle-check-2"
SOFT, LOWEST = "smoothing-check-1", "smoothing-check-2"
GAINS, BAND = "ladder-check-1", "ladder-check-2"
STEPPED, SHARE, MEAN = (f"bug-check-{k}" for k in (1, 2, 3))

LOWEST_LOSS = """

def lowest_loss(classes, epsilon):
    q = np.full(classes, epsilon / classes)
    q[0] += 1 - epsilon
    return float(-sum(v * math.log(v) for v in q if v > 0))
"""

MUTANTS = {
    "paired-gain": [
        wrong(
            "best-seeds",
            "compares the best seed with the best seed",
            objective="O6.6",
            replace=("differences.mean()", "np.max(after) - np.max(before)"),
            loses=[GAIN],
        ),
        wrong(
            "best-difference",
            "takes the pair with the largest gain",
            objective="O6.6",
            replace=("differences.mean()", "differences.max()"),
            loses=[GAIN],
        ),
        wrong(
            "reversed",
            "before minus after",
            objective="O6.6",
            replace=("np.asarray(after) - np.asarray(before)", "np.asarray(before) - after"),
            loses=[GAIN],
        ),
        wrong(
            "unpaired",
            "the standard error of two unrelated groups",
            objective="O6.6",
            replace=(
                "differences.std(ddof=1) / math.sqrt(len(differences))",
                "math.sqrt((np.var(after, ddof=1) + np.var(before, ddof=1)) / len(differences))",
            ),
            loses=[ERROR],
        ),
        wrong(
            "deviation",
            "gives the deviation of one difference, not of their mean",
            objective="O6.6",
            replace=(" / math.sqrt(len(differences))", ""),
            loses=[ERROR],
        ),
        wrong(
            "population",
            "divides by S in place of S - 1",
            objective="O6.6",
            replace=("ddof=1", "ddof=0"),
            loses=[ERROR],
        ),
        right(
            "scipy-like",
            "plain sums, a list as the answer",
            source=(
                "def paired_gain(after, before):\n"
                "    d = [a - b for a, b in zip(after, before)]\n"
                "    m = sum(d) / len(d)\n"
                "    v = sum((x - m) ** 2 for x in d) / (len(d) - 1)\n"
                "    return [m, (v / len(d)) ** 0.5]\n"
            ),
        ),
    ],
    "statistics": [
        wrong(
            "per-picture",
            "averages the deviations inside each picture",
            objective="O6.2",
            replace=(
                "(scaled - mean[:, None, None]).square().mean(dim=(0, 2, 3)).sqrt()",
                "scaled.std(dim=(2, 3), correction=0).mean(dim=0)",
            ),
            loses=STATISTICS,
        ),
        wrong(
            "bytes",
            "forgets to scale to [0, 1]",
            objective="O6.2",
            replace=("images.double() / 255", "images.double()"),
            loses=STATISTICS,
        ),
        wrong(
            "all-channels",
            "one number for all channels",
            objective="O6.2",
            replace=("scaled.mean(dim=(0, 2, 3))", "scaled.mean().repeat(images.shape[1])"),
            loses=STATISTICS,
        ),
        wrong(
            "variance",
            "gives the variance",
            objective="O6.2",
            replace=(".mean(dim=(0, 2, 3)).sqrt()", ".mean(dim=(0, 2, 3))"),
            loses=STATISTICS,
        ),
        right(
            "float32",
            "float32, all pixels of a channel in one row",
            source=(
                "def channel_statistics(images):\n"
                "    rows = (images / 255).transpose(0, 1).flatten(1)\n"
                "    return rows.mean(dim=1), rows.std(dim=1, correction=0)\n"
            ),
        ),
    ],
    "stem": [
        wrong(
            "no-padding",
            "the convolution of the stem is not padded",
            objective="O6.1",
            replace=("(side + 2 * (kernel // 2) - kernel)", "(side - kernel)"),
            loses=[SIDES, WORK],
        ),
        wrong(
            "halved",
            "halves the side in the stages; wrong for odd sides",
            objective="O6.1",
            replace=("(sides[-1] + 2 - 3) // 2 + 1", "sides[-1] // 2"),
            loses=[SIDES],
        ),
        wrong(
            "first-stage-halves",
            "stage 1 halves the side too",
            objective="O6.1",
            replace=("sides.append(sides[1])", "sides.append((sides[1] - 1) // 2 + 1)"),
            loses=[SIDES],
        ),
        wrong(
            "always-pool",
            "pools in every stem",
            objective="O6.1",
            replace=(" if pool else sides[0])", ")"),
            loses=[SIDES],
        ),
        wrong(
            "picture-side",
            "counts the work at the picture's side",
            objective="O6.1",
            replace=("sides[0] ** 2 * planes", "side**2 * planes"),
            loses=[WORK],
        ),
        wrong(
            "one-plane",
            "forgets the three input planes",
            objective="O6.1",
            replace=("planes * 3 * kernel**2", "planes * kernel**2"),
            loses=[WORK],
        ),
        right(
            "ceil",
            "ceiling division, which is the same for padded odd kernels",
            source=(
                "def follow(side, kernel, stride, pool, planes):\n"
                "    c = -(-side // stride)\n"
                "    p = -(-c // 2) if pool else c\n"
                "    s = [c, p, p]\n"
                "    for _ in 'abc':\n"
                "        s.append(-(-s[-1] // 2))\n"
                "    return np.array(s), 3 * planes * (c * kernel) ** 2\n"
            ),
        ),
    ],
    "windows": [
        wrong(
            "one-start",
            "uses the first row's start for all rows",
            objective="O6.2",
            replace=("start[:, None]", "start[:1, None].expand(len(x), 1)"),
            loses=ROWS,
        ),
        wrong(
            "every-row",
            "looks every window up in every row",
            objective="O6.2",
            replace=(
                "torch.gather(x, 1, places.clamp(0, x.shape[1] - 1))",
                "x[:, places.clamp(0, x.shape[1] - 1)]",
            ),
            loses=ROWS,
        ),
        wrong(
            "edge",
            "repeats the edge in place of zeros",
            objective="O6.2",
            replace=(" * inside", ""),
            loses=ROWS,
        ),
        wrong(
            "wraps",
            "negative places count from the end",
            objective="O6.2",
            replace=("places.clamp(0, x.shape[1] - 1)) * inside", "places % x.shape[1])"),
            loses=ROWS,
        ),
        right(
            "padded",
            "pads generously and slices row by row",
            source=(
                "def windows(x, start, length):\n"
                "    far = 50\n"
                "    wide = F.pad(x, (far, far + length))\n"
                "    cut = [r[far + int(s) : far + int(s) + length] for r, s in zip(wide, start)]\n"
                "    return torch.stack(cut)\n"
            ),
        ),
    ],
    "crop": [
        wrong(
            "one-offset",
            "one corner for the whole batch",
            objective="O6.2",
            source=(
                "def random_crop(generator, images, padding):\n"
                "    H, W = images.shape[2:]\n"
                "    padded = F.pad(images, (padding,) * 4)\n"
                "    i, j = torch.randint(2 * padding + 1, (2,), generator=generator).tolist()\n"
                "    return padded[:, :, i : i + H, j : j + W]\n"
            ),
            loses=[OWN, RANGE],
        ),
        wrong(
            "last-place-missing",
            "draws from 2p places in place of 2p + 1",
            objective="O6.2",
            source=(
                "def random_crop(generator, images, padding):\n"
                "    B, C, H, W = images.shape\n"
                "    n = max(2 * padding, 1)\n"
                "    padded = F.pad(images, (padding,) * 4)\n"
                "    top = torch.randint(n, (B,), generator=generator)\n"
                "    left = torch.randint(n, (B,), generator=generator)\n"
                "    return torch.stack(\n"
                "        [p[:, i : i + H, j : j + W] for p, i, j in zip(padded, top, left)]\n"
                "    )\n"
            ),
            loses=[RANGE],
        ),
        wrong(
            "same-for-both",
            "the row's draw is used for the column too",
            objective="O6.2",
            replace=("left[:, None] + torch.arange(W)", "top[:, None] + torch.arange(W)"),
            loses=[OWN],
        ),
        wrong(
            "global-randomness",
            "does not use the generator",
            objective="O6.2",
            replace=(
                "top = torch.randint(2 * padding + 1, (B,), generator=generator)",
                "top = torch.randint(2 * padding + 1, (B,))",
            ),
            loses=[OWN],
        ),
        wrong(
            "reseeded",
            "sets the seed inside: the same corners for every batch",
            objective="O6.2",
            replace=(
                "    B, C, H, W = images.shape\n",
                "    B, C, H, W = images.shape\n    generator.manual_seed(0)\n",
            ),
            loses=[OWN],
        ),
        wrong(
            "reflected",
            "fills the border by reflection",
            objective="O6.2",
            replace=(
                "F.pad(images, (padding, padding, padding, padding))",
                'F.pad(images, (padding, padding, padding, padding), mode="reflect")',
            ),
            loses=[WINDOW],
        ),
        wrong(
            "rolled",
            "rolls the picture: what leaves on one side comes back on the other",
            objective="O6.2",
            source=(
                "def random_crop(generator, images, padding):\n"
                "    B = len(images)\n"
                "    s = torch.randint(-padding, padding + 1, (B, 2), generator=generator)\n"
                "    moved = [torch.roll(x, v.tolist(), (1, 2)) for x, v in zip(images, s)]\n"
                "    return torch.stack(moved)\n"
            ),
            loses=[WINDOW],
        ),
        wrong(
            "channels-apart",
            "each channel gets its own corner",
            objective="O6.2",
            source=(
                "def random_crop(generator, images, padding):\n"
                "    B, C, H, W = images.shape\n"
                "    flat = F.pad(images, (padding,) * 4).flatten(0, 1)\n"
                "    t = torch.randint(2 * padding + 1, (B * C, 2), generator=generator)\n"
                "    cut = [p[i : i + H, j : j + W] for p, (i, j) in zip(flat, t.tolist())]\n"
                "    return torch.stack(cut).view(B, C, H, W)\n"
            ),
            loses=[WINDOW],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O6.2",
            source=(
                "from xor2gpt.vision import augment\n\n\n"
                "def random_crop(generator, images, padding):\n"
                '    return augment.random_crop(generator, images, padding=padding, mode="zero")\n'
            ),
            loses=[WINDOW, OWN, RANGE],
        ),
        right(
            "two-gathers",
            "one gather along the rows, one along the columns",
            source=(
                "def random_crop(generator, images, padding):\n"
                "    B, C, H, W = images.shape\n"
                "    x = F.pad(images, (padding,) * 4)\n"
                "    s = torch.randint(0, 2 * padding + 1, (2, B), generator=generator)\n"
                "    r = (s[0][:, None] + torch.arange(H)).view(B, 1, H, 1)\n"
                "    c = (s[1][:, None] + torch.arange(W)).view(B, 1, 1, W)\n"
                "    x = x.gather(2, r.expand(B, C, H, x.shape[3]))\n"
                "    return x.gather(3, c.expand(B, C, H, W))\n"
            ),
        ),
    ],
    "jitter": [
        wrong(
            "after-normalising",
            "normalises first, then jitters",
            objective="O6.2",
            source=(
                "def jitter_and_normalise(images, brightness, contrast, mean, sd):\n"
                "    x = (images.float() / 255 - mean[:, None, None]) / sd[:, None, None]\n"
                "    x = (brightness[:, None, None, None] * x).clamp(0, 1)\n"
                "    grey = x.mean(dim=(1, 2, 3), keepdim=True)\n"
                "    c = contrast[:, None, None, None]\n"
                "    return (c * x + (1 - c) * grey).clamp(0, 1)\n"
            ),
            loses=[BRIGHT],
        ),
        wrong(
            "one-factor",
            "the first picture's factor for all",
            objective="O6.2",
            replace=("brightness[:, None, None, None]", "brightness[0]"),
            loses=[BRIGHT, CONTRAST],
        ),
        wrong(
            "no-clip",
            "does not cut after the brightness",
            objective="O6.2",
            replace=(
                "(brightness[:, None, None, None] * x).clamp(0, 1)",
                "brightness[:, None, None, None] * x",
            ),
            loses=[CONTRAST],
        ),
        wrong(
            "batch-grey",
            "contrast around the mean of the whole batch",
            objective="O6.2",
            replace=("x.mean(dim=(1, 2, 3), keepdim=True)", "x.mean()"),
            loses=[CONTRAST],
        ),
        wrong(
            "grey-before",
            "contrast around the mean before the brightness step",
            objective="O6.2",
            replace=(
                "grey = x.mean(dim=(1, 2, 3), keepdim=True)",
                "grey = (images / 255).mean(dim=(1, 2, 3), keepdim=True)",
            ),
            loses=[CONTRAST],
        ),
        wrong(
            "bytes",
            "keeps 0 to 255, so that nearly all is cut to 1",
            objective="O6.2",
            replace=("images.float() / 255", "images.float()"),
            loses=[BRIGHT, CONTRAST],
        ),
        right(
            "loop",
            "picture by picture",
            source=(
                "def jitter_and_normalise(images, brightness, contrast, mean, sd):\n"
                "    done = []\n"
                "    for x, b, c in zip(images.double() / 255, brightness, contrast):\n"
                "        x = torch.clip(b * x, 0, 1)\n"
                "        x = torch.clip(x.mean() + c * (x - x.mean()), 0, 1)\n"
                "        done.append((x - mean.view(-1, 1, 1)) / sd.view(-1, 1, 1))\n"
                "    return torch.stack(done)\n"
            ),
        ),
    ],
    "one-cycle": [
        wrong(
            "line",
            "straight lines in place of half cosines",
            objective="O6.3",
            replace=("b + 0.5 * (a - b) * (1 + math.cos(math.pi * share))", "a + (b - a) * share"),
            loses=[UP, DOWN],
        ),
        wrong(
            "from-zero",
            "the way up begins at 0",
            objective="O6.3",
            replace=(
                "half_cosine(start, top, step / top_step)",
                "half_cosine(0, top, step / top_step)",
            ),
            loses=[UP],
        ),
        wrong(
            "end-late",
            "reaches the end at step total, one too late",
            objective="O6.3",
            replace=("(total - 1 - top_step)", "(total - top_step)"),
            loses=[DOWN],
        ),
        wrong(
            "climbs-again",
            "no case for the time after the end",
            objective="O6.3",
            replace=("    if step >= total:\n        return end\n", ""),
            loses=[DOWN],
        ),
        wrong(
            "to-zero",
            "falls to 0 in place of end",
            objective="O6.3",
            replace=("half_cosine(top, end, share)", "half_cosine(top, 0.0, share)"),
            loses=[DOWN],
        ),
        wrong(
            "upside-down",
            "swaps the two ends of the half cosine on the way up",
            objective="O6.3",
            replace=("half_cosine(start, top, step", "half_cosine(top, start, step"),
            loses=[UP],
        ),
        right(
            "squares",
            "squared sines and cosines",
            source=(
                "def one_cycle_rate(step, total, top_step, start, top, end):\n"
                "    if step < top_step:\n"
                "        s = np.sin(np.pi * step / (2 * top_step)) ** 2\n"
                "        return start + (top - start) * s\n"
                "    r = min((step - top_step) / (total - 1 - top_step), 1.0)\n"
                "    return end + (top - end) * np.cos(np.pi * r / 2) ** 2\n"
            ),
        ),
    ],
    "smoothing": [
        wrong(
            "wrong-classes-only",
            "epsilon goes to the wrong classes only",
            objective="O6.4",
            replace=(
                "epsilon * log_p.mean(dim=1)",
                "epsilon * (log_p.sum(dim=1) - true) / (log_p.shape[1] - 1)",
            ),
            loses=[SOFT],
        ),
        wrong(
            "sum",
            "sums over the classes in place of the mean",
            objective="O6.4",
            replace=("log_p.mean(dim=1)", "log_p.sum(dim=1)"),
            loses=[SOFT],
        ),
        wrong(
            "not-mixed",
            "adds the second part without taking the first back",
            objective="O6.4",
            replace=("(1 - epsilon) * true", "true"),
            loses=[SOFT],
        ),
        wrong(
            "log-of-softmax",
            "the logarithm of a softmax: overflows to infinity",
            objective="O6.4",
            replace=("F.log_softmax(logits, dim=1)", "torch.log(F.softmax(logits, dim=1))"),
            loses=[SOFT],
        ),
        wrong(
            "smoothed-probabilities",
            "smooths the prediction in place of the label",
            objective="O6.4",
            source=(
                "def smoothed_loss(logits, labels, epsilon):\n"
                "    p = F.softmax(logits, dim=1)\n"
                "    p = (1 - epsilon) * p + epsilon / p.shape[1]\n"
                "    return F.nll_loss(torch.log(p), labels)\n" + LOWEST_LOSS
            ),
            loses=[SOFT],
        ),
        wrong(
            "true-class-only",
            "the entropy without the wrong classes",
            objective="O6.4",
            replace=(" - (classes - 1) * b * math.log(b)", ""),
            loses=[LOWEST],
        ),
        wrong(
            "hard-minimum",
            "believes that the lowest loss stays 0",
            objective="O6.4",
            replace=(
                "    if epsilon == 0:\n        return 0.0\n    b =",
                "    return 0.0\n    b =",
            ),
            loses=[LOWEST],
        ),
        right(
            "soft-labels",
            "builds the soft labels; entropy from a vector",
            source=(
                "def smoothed_loss(logits, labels, epsilon):\n"
                "    K = logits.shape[1]\n"
                "    q = F.one_hot(labels, K).to(logits) * (1 - epsilon) + epsilon / K\n"
                "    log_p = logits - torch.logsumexp(logits, dim=1, keepdim=True)\n"
                "    return -(q * log_p).sum() / len(labels)\n" + LOWEST_LOSS
            ),
        ),
    ],
    "ladder": [
        wrong(
            "against-first",
            "every row against the first one",
            objective="O6.6",
            replace=("table[1:] - table[:-1]", "table[1:] - table[0]"),
            loses=[GAINS, BAND],
        ),
        wrong(
            "best-seed",
            "compares the best seeds of two rows",
            objective="O6.6",
            replace=(
                "(table[1:] - table[:-1]).mean(axis=1)",
                "np.diff(table.max(axis=1))",
            ),
            loses=[GAINS, BAND],
        ),
        wrong(
            "population",
            "the null row's deviation with S in place of S - 1",
            objective="O6.6",
            replace=("ddof=1", "ddof=0"),
            loses=[BAND],
        ),
        wrong(
            "null-seeds",
            "divides by the number of seeds of the null row",
            objective="O6.6",
            replace=("table.shape[1])", "len(noise))"),
            loses=[BAND],
        ),
        wrong(
            "one-run",
            "the band of single runs",
            objective="O6.6",
            replace=(" * math.sqrt(2 / table.shape[1])", ""),
            loses=[BAND],
        ),
        wrong(
            "gains-only",
            "a loss can never be clear",
            objective="O6.6",
            replace=("abs(gain) > band", "gain > band"),
            loses=[BAND],
        ),
        right(
            "plain",
            "plain loops; a NumPy array of verdicts",
            source=(
                "def read_ladder(noise, rows):\n"
                "    means = [sum(r) / len(r) for r in rows]\n"
                "    gains = np.array([b - a for a, b in zip(means, means[1:])])\n"
                "    band = float(2 * (2 * np.var(noise, ddof=1) / len(rows[0])) ** 0.5)\n"
                "    return [gains, band, np.abs(gains) > band]\n"
            ),
        ),
    ],
    "bug": [
        wrong(
            "per-epoch",
            "the schedule is stepped once per epoch, though it counts batches",
            objective="O6.7",
            replace=(
                "                run.schedule.step()\n",
                "            run.schedule.step()\n",
            ),
            loses=[STEPPED],
        ),
        wrong(
            "never-stepped",
            "the schedule is made and never stepped",
            objective="O6.7",
            replace=("                run.schedule.step()\n", ""),
            loses=[STEPPED],
        ),
        wrong(
            "stepped-first",
            "steps before the batch: the first rate is skipped",
            objective="O6.7",
            replace=(
                "                run.train_batch()\n                run.schedule.step()\n",
                "                run.schedule.step()\n                run.train_batch()\n",
            ),
            loses=[STEPPED],
        ),
        wrong(
            "mean-of-batches",
            "the mean of the batch accuracies",
            objective="O6.7",
            replace=(
                "sum(right for right, _ in pairs) / sum(n for _, n in pairs)",
                "sum(right / n for right, n in pairs) / len(pairs)",
            ),
            loses=[SHARE],
        ),
        wrong(
            "best-seed",
            "reports the best seed",
            objective="O6.7",
            replace=("sum(accuracies) / len(accuracies)", "max(accuracies)"),
            loses=[MEAN],
        ),
        wrong(
            "last-seed",
            "reports the last seed",
            objective="O6.7",
            replace=("sum(accuracies) / len(accuracies)", "accuracies[-1]"),
            loses=[MEAN],
        ),
        right(
            "numpy",
            "one loop over all batches; NumPy for the sums",
            source=(
                "def experiment(make_run, seeds, epochs, batches_per_epoch):\n"
                "    found = []\n"
                "    for run in map(make_run, seeds):\n"
                "        for _ in range(epochs * batches_per_epoch):\n"
                "            run.train_batch()\n"
                "            run.schedule.step()\n"
                "        right, total = np.array(run.validate()).sum(axis=0)\n"
                "        found.append(right / total)\n"
                "    return np.mean(found)\n"
            ),
        ),
    ],
}
NBGRADER = ["reference", "stub", "crop/one-offset", "crop/two-gathers"]
