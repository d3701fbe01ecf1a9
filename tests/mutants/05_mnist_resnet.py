"""Wrong and odd-but-right answers for stage 5. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

MOMENTUM, DECAY = "sgd-step-check-1", "sgd-step-check-2"
SQUARE, OBLONG = "correlate-check-1", "correlate-check-2"
SIZE, COUNT, WORK = (f"conv-numbers-check-{k}" for k in (1, 2, 3))
PLANES, PADDING, STRIDE = (f"conv2d-check-{k}" for k in (1, 2, 3))
TRAINING, RUNNING, EVALUATION = (f"batch-norm-check-{k}" for k in (1, 2, 3))
IDENTITY, PROJECTION, NUMBER = (f"block-check-{k}" for k in (1, 2, 3))
COSINE, WARMUP = "cosine-check-1", "cosine-check-2"
COPY, STEPPED, STOP = (f"bug-check-{k}" for k in (1, 2, 3))
OVERALL, PER_CLASS = "score-check-1", "score-check-2"

PADDED = "x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))"

MUTANTS = {
    "sgd-step": [
        wrong(
            "momentum-reversed",
            "the momentum multiplies the gradient, not the old velocity",
            objective="O5.4",
            replace=("momentum * velocity + total", "velocity + momentum * total"),
            loses=[MOMENTUM, DECAY],
        ),
        wrong(
            "damped",
            "a running mean: the gradient enters with 1 - momentum",
            objective="O5.4",
            replace=("momentum * velocity + total", "momentum * velocity + (1 - momentum) * total"),
            loses=[MOMENTUM],
        ),
        wrong(
            "old-velocity",
            "moves by the old velocity",
            objective="O5.4",
            replace=("weight - rate * new_velocity", "weight - rate * velocity"),
            loses=[MOMENTUM, DECAY],
        ),
        wrong(
            "decay-forgotten",
            "no weight decay",
            objective="O5.4",
            replace=("gradient + decay * weight", "gradient"),
            loses=[DECAY],
        ),
        wrong(
            "decay-grows",
            "pushes the weights away from zero",
            objective="O5.4",
            replace=("gradient + decay * weight", "gradient - decay * weight"),
            loses=[DECAY],
        ),
        wrong(
            "decay-outside",
            "the decay acts on the weight directly, not through the velocity",
            objective="O5.4",
            source=(
                "def sgd_step(weight, gradient, velocity, rate, momentum, decay):\n"
                "    new_velocity = momentum * velocity + gradient\n"
                "    return weight - rate * (new_velocity + decay * weight), new_velocity\n"
            ),
            loses=[DECAY],
        ),
        right(
            "with-torch",
            "lets torch's optimizer do the step",
            source=(
                "def sgd_step(weight, gradient, velocity, rate, momentum, decay):\n"
                "    p = torch.tensor(weight, requires_grad=True)\n"
                "    p.grad = torch.tensor(gradient)\n"
                "    o = torch.optim.SGD([p], lr=rate, momentum=momentum, weight_decay=decay)\n"
                "    o.state[p]['momentum_buffer'] = torch.tensor(velocity)\n"
                "    o.step()\n"
                "    v = o.state[p]['momentum_buffer'] if momentum else p.grad + decay * torch"
                ".tensor(weight)\n"
                "    return p.detach().numpy(), v.numpy()\n"
            ),
        ),
    ],
    "correlate": [
        wrong(
            "flipped",
            "flips the kernel, as mathematics does",
            objective="O5.1",
            replace=("np.sum(kernel *", "np.sum(kernel[::-1, ::-1] *"),
            loses=[SQUARE, OBLONG],
        ),
        wrong(
            "square-only",
            "takes the kernel's height for its width",
            objective="O5.1",
            replace=("k, l = kernel.shape", "k = l = kernel.shape[0]"),
            loses=[OBLONG],
        ),
        wrong(
            "one-place-short",
            "H - k places in place of H - k + 1",
            objective="O5.1",
            replace=(
                "picture.shape[0] - k + 1, picture.shape[1] - l + 1",
                "picture.shape[0] - k, picture.shape[1] - l",
            ),
            loses=[SQUARE, OBLONG],
        ),
        wrong(
            "mean",
            "averages over the window",
            objective="O5.1",
            replace=("np.sum(", "np.mean("),
            loses=[SQUARE, OBLONG],
        ),
        wrong(
            "swapped-axes",
            "rows and columns of the window swapped",
            objective="O5.1",
            replace=("picture[i : i + k, j : j + l]", "picture.T[i : i + k, j : j + l]"),
            loses=[SQUARE, OBLONG],
        ),
        wrong(
            "too-far-down",
            "moves the window two rows at a time",
            objective="O5.1",
            replace=(
                "picture[i : i + k, j : j + l]",
                "np.roll(picture, -i, 0)[i : i + k, j : j + l]",
            ),
            loses=[SQUARE, OBLONG],
        ),
        right(
            "windows",
            "all windows at once",
            source=(
                "def correlate(picture, kernel):\n"
                "    views = np.lib.stride_tricks.sliding_window_view(picture, kernel.shape)\n"
                "    return (views * kernel).sum(axis=(2, 3))\n"
            ),
        ),
        right(
            "over-the-kernel",
            "loops over the kernel's cells and adds shifted pictures",
            source=(
                "def correlate(picture, kernel):\n"
                "    H = picture.shape[0] - kernel.shape[0] + 1\n"
                "    W = picture.shape[1] - kernel.shape[1] + 1\n"
                "    return sum(kernel[a, b] * picture[a : a + H, b : b + W]\n"
                "               for a in range(kernel.shape[0]) for b in range(kernel.shape[1]))\n"
            ),
        ),
    ],
    "conv-numbers": [
        wrong(
            "one-sided-padding",
            "padding counted once, not on both sides",
            objective="O5.2",
            replace=("size + 2 * padding - kernel", "size + padding - kernel"),
            loses=[SIZE, WORK],
        ),
        wrong(
            "no-plus-one",
            "forgets the place where the window starts",
            objective="O5.2",
            replace=("// stride + 1", "// stride"),
            loses=[SIZE, WORK],
        ),
        wrong(
            "rounded-up",
            "rounds the size up",
            objective="O5.2",
            replace=(
                "(size + 2 * padding - kernel) // stride + 1",
                "-(-(size + 2 * padding - kernel) // stride) + 1",
            ),
            loses=[SIZE],
        ),
        wrong(
            "one-plane",
            "each kernel sees one input plane",
            objective="O5.2",
            replace=("c_out * c_in * kernel**2", "c_out * kernel**2"),
            loses=[COUNT, WORK],
        ),
        wrong(
            "bias-per-kernel",
            "a bias for each input plane and output plane",
            objective="O5.2",
            replace=("(c_out if bias else 0)", "(c_out * c_in if bias else 0)"),
            loses=[COUNT],
        ),
        wrong(
            "bias-always",
            "counts a bias where there is none",
            objective="O5.2",
            replace=("(c_out if bias else 0)", "c_out"),
            loses=[COUNT],
        ),
        wrong(
            "one-direction",
            "multiplies with the rows only",
            objective="O5.2",
            replace=("size_out**2 * weights", "size_out * weights"),
            loses=[WORK],
        ),
        wrong(
            "flops",
            "counts product and addition as two",
            objective="O5.2",
            replace=("size_out**2 * weights", "2 * size_out**2 * weights"),
            loses=[WORK],
        ),
        right(
            "counted",
            "counts the places of the window",
            source=(
                "def conv_numbers(size, c_in, c_out, kernel, stride, padding, bias):\n"
                "    n = len(range(0, size + 2 * padding - kernel + 1, stride))\n"
                "    one = c_in * kernel * kernel\n"
                "    return [n, c_out * (one + int(bias)), n * n * one * c_out]\n"
            ),
        ),
    ],
    "conv2d": [
        wrong(
            "flipped",
            "flips the kernels",
            objective="O5.1",
            replace=(
                '"nchwab,ocab->nohw", views, weight',
                '"nchwab,ocab->nohw", views, weight[:, :, ::-1, ::-1]',
            ),
            loses=[PLANES, PADDING, STRIDE],
        ),
        wrong(
            "lopsided",
            "all padding on one side",
            objective="O5.1",
            replace=(
                "((0, 0), (0, 0), (padding, padding), (padding, padding))",
                "((0, 0), (0, 0), (2 * padding, 0), (2 * padding, 0))",
            ),
            loses=[PADDING],
        ),
        wrong(
            "padding-off-by-one",
            "half of the padding: one row and column too few",
            objective="O5.1",
            replace=(
                "((0, 0), (0, 0), (padding, padding), (padding, padding))",
                "((0, 0), (0, 0), (padding, 0), (padding, 0))",
            ),
            loses=[PADDING],
        ),
        wrong(
            "edge-copies",
            "fills the border with copies of the edge",
            objective="O5.1",
            replace=("(padding, padding)))", '(padding, padding)), mode="edge")'),
            loses=[PADDING],
        ),
        wrong(
            "stride-on-rows",
            "stride in one direction only",
            objective="O5.1",
            replace=("views[:, :, ::stride, ::stride]", "views[:, :, ::stride]"),
            loses=[STRIDE],
        ),
        wrong(
            "stride-starts-late",
            "drops the first window",
            objective="O5.1",
            replace=(
                "views[:, :, ::stride, ::stride]",
                "views[:, :, stride - 1 :: stride, stride - 1 :: stride]",
            ),
            loses=[STRIDE],
        ),
        wrong(
            "no-bias",
            "forgets the bias",
            objective="O5.1",
            replace=(" + bias[:, None, None]", ""),
            loses=[PLANES, PADDING, STRIDE],
        ),
        wrong(
            "planes-not-summed",
            "reads the first input plane only",
            objective="O5.1",
            replace=(
                "views = views[:, :, ::stride, ::stride]",
                "views = views[:, :1, ::stride, ::stride]\n    weight = weight[:, :1]",
            ),
            loses=[PLANES, PADDING, STRIDE],
        ),
        right(
            "over-the-kernel",
            "loops over the kernel's cells",
            source=(
                "def conv2d(x, weight, bias, stride=1, padding=0):\n"
                "    p, k = padding, weight.shape[-1]\n"
                "    big = np.zeros(x.shape[:2] + (x.shape[2] + 2 * p, x.shape[3] + 2 * p))\n"
                "    big[:, :, p : p + x.shape[2], p : p + x.shape[3]] = x\n"
                "    h, w = big.shape[2] - k + 1, big.shape[3] - k + 1\n"
                "    out = 0\n"
                "    for a in range(k):\n"
                "        for b in range(k):\n"
                "            part = big[:, :, a : a + h : stride, b : b + w : stride]\n"
                "            out = out + np.tensordot(part, weight[:, :, a, b], (1, 1))\n"
                "    return (out + bias).transpose(0, 3, 1, 2)\n"
            ),
        ),
    ],
    "batch-norm": [
        wrong(
            "batch-statistics-in-eval",
            "normalises with the batch in evaluation mode too",
            objective="O5.5",
            replace=(
                "mean, var = running_mean, running_var",
                "mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))",
            ),
            loses=[EVALUATION],
        ),
        wrong(
            "momentum-reversed",
            "takes the momentum for the weight of the old value",
            objective="O5.5",
            source=(
                "def batch_norm(x, gamma, beta, running_mean, running_var, training,\n"
                "               momentum=0.1, eps=1e-5):\n"
                "    if training:\n"
                "        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))\n"
                "        m = x.size // x.shape[1]\n"
                "        running_mean = momentum * running_mean + (1 - momentum) * mean\n"
                "        var_m1 = var * m / (m - 1)\n"
                "        running_var = momentum * running_var + (1 - momentum) * var_m1\n"
                "    else:\n"
                "        mean, var = running_mean, running_var\n"
                "    y = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + eps)\n"
                "    y = gamma[:, None, None] * y + beta[:, None, None]\n"
                "    return y, running_mean, running_var\n"
            ),
            loses=[RUNNING],
        ),
        wrong(
            "biased-running-variance",
            "the running variance divides by m",
            objective="O5.5",
            replace=("momentum * var * m / (m - 1)", "momentum * var"),
            loses=[RUNNING],
        ),
        wrong(
            "per-pixel",
            "statistics over the batch alone",
            objective="O5.5",
            source=(
                "def batch_norm(x, gamma, beta, running_mean, running_var, training,\n"
                "               momentum=0.1, eps=1e-5):\n"
                "    m = x.size // x.shape[1]\n"
                "    if training:\n"
                "        y = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)\n"
                "        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)) * m / (m - 1)\n"
                "        running_mean = (1 - momentum) * running_mean + momentum * mean\n"
                "        running_var = (1 - momentum) * running_var + momentum * var\n"
                "    else:\n"
                "        y = x - running_mean[:, None, None]\n"
                "        y = y / np.sqrt(running_var[:, None, None] + eps)\n"
                "    y = gamma[:, None, None] * y + beta[:, None, None]\n"
                "    return y, running_mean, running_var\n"
            ),
            loses=[TRAINING],
        ),
        wrong(
            "no-gamma",
            "forgets the learned scale",
            objective="O5.5",
            replace=("gamma[:, None, None] * scaled", "scaled"),
            loses=[TRAINING, EVALUATION],
        ),
        wrong(
            "running-in-training",
            "normalises with the running statistics in training",
            objective="O5.5",
            replace=(
                "    scaled = (x",
                "    mean, var = running_mean, running_var\n    scaled = (x",
            ),
            loses=[TRAINING],
        ),
        wrong(
            "eval-updates",
            "updates the running mean in evaluation mode",
            objective="O5.5",
            replace=(
                "mean, var = running_mean, running_var",
                "mean, var = running_mean, running_var\n"
                "        running_mean = 0.9 * running_mean + 0.1 * x.mean(axis=(0, 2, 3))",
            ),
            loses=[EVALUATION],
        ),
        right(
            "reshaped",
            "one row per channel",
            source=(
                "def batch_norm(x, gamma, beta, running_mean, running_var, training,\n"
                "               momentum=0.1, eps=1e-5):\n"
                "    B, C, H, W = x.shape\n"
                "    flat = x.transpose(1, 0, 2, 3).reshape(C, -1)\n"
                "    mean, var = running_mean, running_var\n"
                "    if training:\n"
                "        mean, var = flat.mean(1), flat.var(1)\n"
                "        running_mean = running_mean + momentum * (mean - running_mean)\n"
                "        gap = flat.var(1, ddof=1) - running_var\n"
                "        running_var = running_var + momentum * gap\n"
                "    a = gamma / np.sqrt(var + eps)\n"
                "    y = flat * a[:, None] + (beta - a * mean)[:, None]\n"
                "    y = y.reshape(C, B, H, W).transpose(1, 0, 2, 3)\n"
                "    return y, running_mean, running_var\n"
            ),
        ),
    ],
    "block": [
        wrong(
            "no-projection",
            "never projects the shortcut: the shapes do not fit",
            objective="O5.6",
            replace=("if stride != 1 or c_in != c_out:", "if False:"),
            loses=[PROJECTION, NUMBER],
        ),
        wrong(
            "no-shortcut",
            "a plain pair of convolutions",
            objective="O5.6",
            replace=("self.bn2(self.conv2(z)) + shortcut", "self.bn2(self.conv2(z))"),
            loses=[IDENTITY, PROJECTION],
        ),
        wrong(
            "relu-before-sum",
            "ReLU first, then the sum",
            objective="O5.6",
            replace=(
                "torch.relu(self.bn2(self.conv2(z)) + shortcut)",
                "torch.relu(self.bn2(self.conv2(z))) + shortcut",
            ),
            loses=[IDENTITY, PROJECTION],
        ),
        wrong(
            "stride-in-conv2",
            "the stride sits in the second convolution",
            objective="O5.6",
            replace=(
                "3, stride=stride, padding=1, bias=False)\n"
                "        self.bn1 = nn.BatchNorm2d(c_out)\n"
                "        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)",
                "3, padding=1, bias=False)\n"
                "        self.bn1 = nn.BatchNorm2d(c_out)\n"
                "        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False)",
            ),
            loses=[PROJECTION],
        ),
        wrong(
            "with-bias",
            "the first convolution has a bias",
            objective="O5.6",
            replace=("3, stride=stride, padding=1, bias=False", "3, stride=stride, padding=1"),
            loses=[NUMBER],
        ),
        wrong(
            "no-padding",
            "the convolutions shrink the maps",
            objective="O5.6",
            replace=("c_out, c_out, 3, padding=1, bias=False", "c_out, c_out, 3, bias=False"),
            loses=[IDENTITY, PROJECTION, NUMBER],
        ),
        wrong(
            "projection-without-norm",
            "no batch norm in the shortcut",
            objective="O5.6",
            replace=("                nn.BatchNorm2d(c_out),\n", ""),
            loses=[PROJECTION, NUMBER],
        ),
        wrong(
            "planes-only",
            "projects only where the number of planes changes",
            objective="O5.6",
            replace=("if stride != 1 or c_in != c_out:", "if c_in != c_out:"),
            loses=[PROJECTION, NUMBER],
        ),
        wrong(
            "library-twin",
            "takes the block from the library",
            objective="O5.6",
            source="from xor2gpt.vision import BasicBlock\n",
            loses=[IDENTITY, PROJECTION, NUMBER],
        ),
        right(
            "identity",
            "an identity module as the shortcut",
            source=(
                "class BasicBlock(nn.Module):\n"
                "    def __init__(self, c_in, c_out, stride=1):\n"
                "        super().__init__()\n"
                "        same = stride == 1 and c_in == c_out\n"
                "        self.downsample = nn.Identity() if same else nn.Sequential(\n"
                "            nn.Conv2d(c_in, c_out, 1, stride, bias=False),\n"
                "            nn.BatchNorm2d(c_out))\n"
                "        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)\n"
                "        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)\n"
                "        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)\n"
                "        self.act = nn.ReLU()\n"
                "    def forward(self, x):\n"
                "        z = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))\n"
                "        return self.act(self.downsample(x).add(z))\n"
            ),
        ),
    ],
    "cosine": [
        wrong(
            "climbs-again",
            "no end: the cosine rises after the last step",
            objective="O5.4",
            replace=("    if step >= total:\n        return 0.0\n", ""),
            loses=[COSINE],
        ),
        wrong(
            "full-period",
            "down and up again within the training",
            objective="O5.4",
            replace=("np.cos(np.pi * share)", "np.cos(2 * np.pi * share)"),
            loses=[COSINE, WARMUP],
        ),
        wrong(
            "no-half",
            "starts at twice the base rate",
            objective="O5.4",
            replace=("base_rate * 0.5 * (1", "base_rate * (1"),
            loses=[COSINE, WARMUP],
        ),
        wrong(
            "starts-at-zero",
            "the first step of the warm-up has the rate 0",
            objective="O5.4",
            replace=("(step + 1) / warmup", "step / warmup"),
            loses=[WARMUP],
        ),
        wrong(
            "ignores-warmup",
            "the cosine counts the warm-up as its own",
            objective="O5.4",
            replace=("(step - warmup) / (total - warmup)", "step / total"),
            loses=[WARMUP],
        ),
        wrong(
            "degrees",
            "180 degrees in place of pi",
            objective="O5.4",
            replace=("np.pi * share", "180 * share"),
            loses=[COSINE, WARMUP],
        ),
        right(
            "squared",
            "cos² of half the angle",
            source=(
                "def cosine_rate(step, total, base_rate, warmup):\n"
                "    if step < warmup:\n"
                "        return base_rate / warmup * (1 + step)\n"
                "    way = min(1.0, (step - warmup) / (total - warmup))\n"
                "    return base_rate * np.cos(np.pi / 2 * way) ** 2\n"
            ),
        ),
    ],
    "bug": [
        wrong(
            "no-copy",
            "best = model.state_dict(): the same tensors",
            objective="O5.7",
            replace=("copy.deepcopy(model.state_dict())", "model.state_dict()"),
            loses=[COPY],
        ),
        wrong(
            "shallow-copy",
            "copies the dictionary, not the tensors",
            objective="O5.7",
            replace=("copy.deepcopy(model.state_dict())", "dict(model.state_dict())"),
            loses=[COPY],
        ),
        wrong(
            "not-loaded",
            "keeps a copy and never loads it",
            objective="O5.7",
            replace=("    model.load_state_dict(best)\n", ""),
            loses=[COPY],
        ),
        wrong(
            "never-stepped",
            "the scheduler is made and forgotten",
            objective="O5.7",
            replace=("        scheduler.step()\n", ""),
            loses=[STEPPED],
        ),
        wrong(
            "stepped-first",
            "steps before the epoch's training",
            objective="O5.7",
            replace=(
                "        train_epoch()\n        scheduler.step()\n",
                "        scheduler.step()\n        train_epoch()\n",
            ),
            loses=[STEPPED],
        ),
        wrong(
            "training-loss",
            "stops on the training loss",
            objective="O5.7",
            source=(
                "def fit(model, train_epoch, validation_loss, scheduler, epochs, patience):\n"
                "    best_loss, best, waited = float('inf'), None, 0\n"
                "    for _ in range(epochs):\n"
                "        loss = train_epoch()\n"
                "        scheduler.step()\n"
                "        if loss < best_loss:\n"
                "            best_loss, waited = loss, 0\n"
                "            best = copy.deepcopy(model.state_dict())\n"
                "        else:\n"
                "            waited += 1\n"
                "        if waited == patience:\n"
                "            break\n"
                "    model.load_state_dict(best)\n"
                "    return best_loss\n"
            ),
            loses=[STOP],
        ),
        wrong(
            "counts-all-misses",
            "does not set the counter back after a new best",
            objective="O5.7",
            replace=("best_loss, waited = loss, 0", "best_loss = loss"),
            loses=[STOP],
        ),
        right(
            "clones",
            "copies with clone and remembers the best epoch",
            source=(
                "def fit(model, train_epoch, validation_loss, scheduler, epochs, patience):\n"
                "    seen, best = [], {}\n"
                "    for epoch in range(epochs):\n"
                "        train_epoch()\n"
                "        seen.append(validation_loss())\n"
                "        scheduler.step()\n"
                "        first_best = seen.index(min(seen))\n"
                "        if first_best == epoch:\n"
                "            state = model.state_dict()\n"
                "            best = {k: v.detach().clone() for k, v in state.items()}\n"
                "        if epoch - first_best >= patience:\n"
                "            break\n"
                "    model.load_state_dict(best)\n"
                "    return min(seen)\n"
            ),
        ),
    ],
    "score": [
        wrong(
            "mean-of-batches",
            "averages the accuracies of the batches",
            objective="O5.7",
            replace=(
                "float(right.sum() / seen.sum())",
                "float(np.mean([np.mean(z.argmax(axis=1) == t) for z, t in batches]))",
            ),
            loses=[OVERALL],
        ),
        wrong(
            "mean-of-classes",
            "averages the accuracies of the classes",
            objective="O5.7",
            replace=("float(right.sum() / seen.sum())", "float(np.nanmean(per_class))"),
            loses=[OVERALL],
        ),
        wrong(
            "by-prediction",
            "groups by the predicted class: precision",
            objective="O5.7",
            replace=(
                "seen += np.bincount(labels, minlength=n_classes)",
                "seen += np.bincount(logits.argmax(axis=1), minlength=n_classes)",
            ),
            loses=[PER_CLASS],
        ),
        wrong(
            "absent-is-zero",
            "a class without pictures gets 0",
            objective="O5.7",
            replace=("np.maximum(seen, 1), np.nan)", "np.maximum(seen, 1), 0.0)"),
            loses=[PER_CLASS],
        ),
        wrong(
            "share-of-all",
            "divides by all pictures",
            objective="O5.7",
            replace=("right / np.maximum(seen, 1)", "right / seen.sum()"),
            loses=[PER_CLASS],
        ),
        wrong(
            "last-batch",
            "starts counting anew in each batch",
            objective="O5.7",
            replace=(
                "        hit = logits",
                "        right, seen = np.zeros(n_classes), np.zeros(n_classes)\n"
                "        hit = logits",
            ),
            loses=[OVERALL, PER_CLASS],
        ),
        right(
            "all-at-once",
            "puts the batches together first",
            source=(
                "def score(batches, n_classes):\n"
                "    z = np.concatenate([z for z, _ in batches])\n"
                "    t = np.concatenate([t for _, t in batches])\n"
                "    ok = z.argmax(1) == t\n"
                "    each = [ok[t == c].mean() if (t == c).any() else np.nan\n"
                "            for c in range(n_classes)]\n"
                "    return ok.mean(), np.array(each)\n"
            ),
        ),
    ],
}

# these four also run through nbgrader
NBGRADER = ["reference", "stub", "block/no-projection", "batch-norm/reshaped"]
