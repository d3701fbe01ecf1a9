"""Wrong and odd-but-right answers for stage 4. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

GRADIENTS = ["torch-gradients-check-1", "torch-gradients-check-2"]
WHOLE, STRATA, SEED = (f"stratified-split-check-{k}" for k in (1, 2, 3))
SOFTMAX, HUGE = "softmax-check-1", "softmax-check-2"
LOSS, STABLE = "cross-entropy-check-1", "cross-entropy-check-2"
SCALED, CONSTANT = "standardise-check-1", "standardise-check-2"
ONE, MANY, MEAN = (f"train-epoch-check-{k}" for k in (1, 2, 3))
MATRIX, SHARES = "confusion-check-1", "confusion-check-2"
CHOICE, SCALING = "bug-check-1", "bug-check-2"

MUTANTS = {
    "torch-gradients": [
        wrong(
            "mean",
            "averages over the batch although the loss is a sum",
            objective="O4.1",
            replace=("((output - Y) ** 2).sum()", "((output - Y) ** 2).mean()"),
            loses=GRADIENTS,
        ),
        wrong(
            "no-half",
            "forgets the half of the loss",
            objective="O4.1",
            replace=("0.5 * ((output - Y) ** 2).sum()", "((output - Y) ** 2).sum()"),
            loses=GRADIENTS,
        ),
        wrong(
            "backward-twice",
            "calls backward twice: .grad adds up",
            objective="O4.1",
            replace=("loss.backward()", "loss.backward(retain_graph=True)\n    loss.backward()"),
            loses=GRADIENTS,
        ),
        wrong(
            "no-requires-grad",
            "the tensors do not remember anything",
            objective="O4.1",
            replace=("torch.tensor(array, requires_grad=True)", "torch.tensor(array)"),
            loses=GRADIENTS,
        ),
        wrong(
            "linear-output",
            "forgets the sigmoid of the output",
            objective="O4.1",
            replace=(
                'torch.sigmoid(hidden @ P["W2"] + P["b2"])',
                'hidden @ P["W2"] + P["b2"]',
            ),
            loses=GRADIENTS,
        ),
        wrong(
            "detached-hidden",
            "cuts the graph between the layers: the hidden gradients are missing",
            objective="O4.1",
            replace=(
                "hidden @ P",
                "(hidden.detach() + 0 * hidden) @ P",
            ),
            loses=["torch-gradients-check-2"],
        ),
        right(
            "by-hand",
            "the formulas of stage 3, without autograd",
            source=(
                "def torch_gradients(X, Y, W1, b1, W2, b2):\n"
                "    A1 = 1 / (1 + np.exp(-(X @ W1 + b1)))\n"
                "    A2 = 1 / (1 + np.exp(-(A1 @ W2 + b2)))\n"
                "    d2 = (A2 - Y) * A2 * (1 - A2)\n"
                "    d1 = (d2 @ W2.T) * A1 * (1 - A1)\n"
                "    return {'W1': X.T @ d1, 'b1': d1.sum(0), 'W2': A1.T @ d2, 'b2': d2.sum(0)}\n"
            ),
        ),
        right(
            "float32",
            "works in torch's usual number type",
            source=(
                "def torch_gradients(X, Y, W1, b1, W2, b2):\n"
                "    X, Y = torch.from_numpy(X).float(), torch.from_numpy(Y).float()\n"
                "    P = [torch.from_numpy(a).float().requires_grad_() for a in (W1, b1, W2, b2)]\n"
                "    out = torch.sigmoid(torch.sigmoid(X @ P[0] + P[1]) @ P[2] + P[3])\n"
                "    loss = torch.sum(0.5 * (out - Y) * (out - Y))\n"
                "    grads = torch.autograd.grad(loss, P)\n"
                "    return {n: g.numpy() for n, g in zip(('W1', 'b1', 'W2', 'b2'), grads)}\n"
            ),
        ),
    ],
    "stratified-split": [
        wrong(
            "no-strata",
            "one shuffle for all rows",
            objective="O4.2",
            source=(
                "def stratified_split(labels, test_fraction, seed):\n"
                "    rows = np.random.default_rng(seed).permutation(len(labels))\n"
                "    n_test = round(test_fraction * len(rows))\n"
                "    return rows[n_test:], rows[:n_test]\n"
            ),
            loses=[STRATA],
        ),
        wrong(
            "first-rows",
            "takes the first rows of each class: no shuffle",
            objective="O4.2",
            replace=(
                "rng.permutation(np.flatnonzero(labels == c))",
                "np.flatnonzero(labels == c)",
            ),
            loses=[SEED],
        ),
        wrong(
            "loose-dice",
            "ignores the seed",
            objective="O4.2",
            replace=("np.random.default_rng(seed)", "np.random.default_rng()"),
            loses=[SEED],
        ),
        wrong(
            "same-seed-always",
            "a fixed seed inside the function",
            objective="O4.2",
            replace=("np.random.default_rng(seed)", "np.random.default_rng(42)"),
            loses=[SEED],
        ),
        wrong(
            "overlap",
            "trains on all rows, the test rows too",
            objective="O4.2",
            replace=("train_parts.append(rows[n_test:])", "train_parts.append(rows)"),
            loses=[WHOLE],
        ),
        wrong(
            "positions",
            "returns positions inside the class, not row numbers",
            objective="O4.2",
            replace=(
                "rng.permutation(np.flatnonzero(labels == c))",
                "rng.permutation(np.sum(labels == c))",
            ),
            loses=[WHOLE, STRATA, SEED],
        ),
        wrong(
            "parts-swapped",
            "returns the test part first",
            objective="O4.2",
            replace=(
                "return np.concatenate(train_parts), np.concatenate(test_parts)",
                "return np.concatenate(test_parts), np.concatenate(train_parts)",
            ),
            # the sizes are swapped too wherever the fraction is not a half
            loses=[STRATA],
        ),
        wrong(
            "wrong-count",
            "takes a share of all rows from each class",
            objective="O4.2",
            replace=("test_fraction * len(rows)", "test_fraction * len(labels) / 4"),
            loses=[STRATA],
        ),
        right(
            "sorted",
            "returns sorted lists, by sets, with the old generator",
            source=(
                "def stratified_split(labels, test_fraction, seed):\n"
                "    state = np.random.RandomState(seed)\n"
                "    test = set()\n"
                "    for c in sorted(set(np.asarray(labels).tolist())):\n"
                "        rows = [k for k in range(len(labels)) if labels[k] == c]\n"
                "        state.shuffle(rows)\n"
                "        test |= set(rows[: round(test_fraction * len(rows))])\n"
                "    train = [k for k in range(len(labels)) if k not in test]\n"
                "    return np.array(train), np.array(sorted(test))\n"
            ),
        ),
        right(
            "choice",
            "draws the test rows with choice, and shuffles both parts once more",
            source=(
                "def stratified_split(labels, test_fraction, seed):\n"
                "    rng = np.random.default_rng([seed, 7])\n"
                "    is_test = np.zeros(len(labels), dtype=bool)\n"
                "    for c in np.unique(labels):\n"
                "        rows = np.where(labels == c)[0]\n"
                "        n = round(test_fraction * len(rows))\n"
                "        is_test[rng.choice(rows, n, replace=False)] = True\n"
                "    rows = rng.permutation(len(labels))\n"
                "    return rows[~is_test[rows]], rows[is_test[rows]]\n"
            ),
        ),
    ],
    "softmax": [
        wrong(
            "wrong-axis",
            "normalises columns: each class over the flowers",
            objective="O4.3",
            source=(
                "def softmax(logits):\n"
                "    powers = np.exp(logits - logits.max(axis=0, keepdims=True))\n"
                "    return powers / powers.sum(axis=0, keepdims=True)\n"
            ),
            loses=[SOFTMAX, HUGE],
        ),
        wrong(
            "axis-one",
            "axis=1 is the last axis of matrices only",
            objective="O4.3",
            source=(
                "def softmax(logits):\n"
                "    powers = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
                "    return powers / powers.sum(axis=1, keepdims=True)\n"
            ),
            loses=[SOFTMAX],
        ),
        wrong(
            "sum-of-everything",
            "divides by the sum of the whole array",
            objective="O4.3",
            replace=("powers.sum(axis=-1, keepdims=True)", "powers.sum()"),
            loses=[SOFTMAX, HUGE],
        ),
        wrong(
            "no-keepdims",
            "the sums broadcast along the wrong axis of a square array",
            objective="O4.3",
            replace=("powers.sum(axis=-1, keepdims=True)", "powers.sum(axis=-1)"),
            loses=[SOFTMAX, HUGE],
        ),
        wrong(
            "no-shift",
            "overflows for huge logits",
            objective="O4.3",
            replace=("logits - logits.max(axis=-1, keepdims=True)", "logits"),
            loses=[HUGE],
        ),
        wrong(
            "one-shift-for-all",
            "subtracts the largest logit of the whole array",
            objective="O4.3",
            replace=("logits.max(axis=-1, keepdims=True)", "logits.max()"),
            loses=[HUGE],
        ),
        wrong(
            "no-exponential",
            "divides the logits themselves",
            objective="O4.3",
            source=(
                "def softmax(logits):\n    return logits / logits.sum(axis=-1, keepdims=True)\n"
            ),
            loses=[SOFTMAX, HUGE],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O4.3",
            source=(
                "from scipy.special import softmax as library_softmax\n\n\n"
                "def softmax(logits):\n    return library_softmax(logits, axis=-1)\n"
            ),
            loses=[SOFTMAX, HUGE],
        ),
        right(
            "through-logs",
            "exp of log-softmax",
            source=(
                "def softmax(logits):\n"
                "    z = logits - np.max(logits, axis=-1)[..., None]\n"
                "    return np.exp(z - np.log(np.sum(np.exp(z), axis=-1))[..., None])\n"
            ),
        ),
        right(
            "row-by-row",
            "one row at a time",
            source=(
                "def softmax(logits):\n"
                "    flat = np.reshape(logits, (-1, logits.shape[-1]))\n"
                "    rows = [np.exp(r - max(r)) / sum(np.exp(r - max(r))) for r in flat]\n"
                "    return np.reshape(rows, logits.shape)\n"
            ),
        ),
    ],
    "cross-entropy": [
        wrong(
            "sum",
            "adds up the batch",
            objective="O4.3",
            replace=("np.mean(log_sum_exp", "np.sum(log_sum_exp"),
            loses=[LOSS],
        ),
        wrong(
            "softmax-twice",
            "turns the logits into probabilities first",
            objective="O4.3",
            replace=(
                "top = logits.max",
                "e = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
                "    logits = e / e.sum(axis=1, keepdims=True)\n"
                "    top = logits.max",
            ),
            loses=[LOSS, STABLE],
        ),
        wrong(
            "sign",
            "log-likelihood: forgets the minus",
            objective="O4.3",
            replace=("log_sum_exp - true_logits", "true_logits - log_sum_exp"),
            loses=[LOSS, STABLE],
        ),
        wrong(
            "predicted-class",
            "takes the largest probability, not that of the true class",
            objective="O4.3",
            replace=(
                "logits[np.arange(len(labels)), labels]",
                "logits[np.arange(len(labels)), logits.argmax(axis=1)]",
            ),
            loses=[LOSS, STABLE],
        ),
        wrong(
            "all-pairs",
            "logits[:, labels] picks every label in every row",
            objective="O4.3",
            replace=(
                "logits[np.arange(len(labels)), labels]",
                "logits[:, labels].mean(axis=1)",
            ),
            loses=[LOSS],
        ),
        wrong(
            "log-of-softmax",
            "takes the logarithm of a softmax that can be 0",
            objective="O4.3",
            source=(
                "def cross_entropy(logits, labels):\n"
                "    e = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
                "    p = e / e.sum(axis=1, keepdims=True)\n"
                "    return float(-np.log(p[np.arange(len(labels)), labels]).mean())\n"
            ),
            loses=[STABLE],
        ),
        wrong(
            "epsilon-in-log",
            "hides the zero behind a small constant",
            objective="O4.3",
            source=(
                "def cross_entropy(logits, labels):\n"
                "    e = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
                "    p = e / e.sum(axis=1, keepdims=True)\n"
                "    return float(-np.log(p[np.arange(len(labels)), labels] + 1e-12).mean())\n"
            ),
            loses=[STABLE],
        ),
        wrong(
            "no-shift",
            "log-sum-exp without subtracting the maximum",
            objective="O4.3",
            replace=(
                "top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))",
                "np.log(np.exp(logits).sum(axis=1))",
            ),
            loses=[STABLE],
        ),
        right(
            "one-hot",
            "a one-hot matrix and np.logaddexp",
            source=(
                "def cross_entropy(logits, labels):\n"
                "    one_hot = np.eye(logits.shape[1])[labels]\n"
                "    lse = np.logaddexp.reduce(logits, axis=1)\n"
                "    return np.sum(one_hot * (lse[:, None] - logits)) / len(labels)\n"
            ),
        ),
        right(
            "differences",
            "sums e to the difference from the true logit, row by row",
            source=(
                "def cross_entropy(logits, labels):\n"
                "    total = 0.0\n"
                "    for z, y in zip(logits, labels):\n"
                "        d = z - z[y]\n"
                "        total += d.max() + np.log(np.exp(d - d.max()).sum())\n"
                "    return total / len(logits)\n"
            ),
        ),
    ],
    "logits-gradient": [
        wrong(
            "sign",
            "y - p: uphill",
            objective="O4.3",
            replace=("return p / len(labels)", "return -p / len(labels)"),
            loses=["logits-gradient-check-1"],
        ),
        wrong(
            "sum",
            "forgets that the loss is a mean",
            objective="O4.3",
            replace=("return p / len(labels)", "return p"),
            loses=["logits-gradient-check-1"],
        ),
        wrong(
            "mean-over-all",
            "divides by the number of entries",
            objective="O4.3",
            replace=("return p / len(labels)", "return p / p.size"),
            loses=["logits-gradient-check-1"],
        ),
        wrong(
            "no-one-hot",
            "subtracts the index of the class",
            objective="O4.3",
            replace=("p[np.arange(len(labels)), labels] -= 1.0", "p = p - labels[:, None]"),
            loses=["logits-gradient-check-1"],
        ),
        wrong(
            "all-rows",
            "subtracts 1 in the columns of all labels, in every row",
            objective="O4.3",
            replace=("p[np.arange(len(labels)), labels] -= 1.0", "p[:, labels] -= 1.0"),
            loses=["logits-gradient-check-1"],
        ),
        wrong(
            "extra-slope",
            "keeps the factor p (1 - p) of the squared error",
            objective="O4.3",
            replace=(
                "p[np.arange(len(labels)), labels] -= 1.0",
                "p = (p - np.eye(p.shape[1])[labels]) * p * (1 - p)",
            ),
            loses=["logits-gradient-check-1"],
        ),
        right(
            "eye",
            "one-hot rows from the identity matrix",
            source=(
                "def logits_gradient(logits, labels):\n"
                "    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])\n"
                "    return (p - np.eye(logits.shape[1])[labels]) / logits.shape[0]\n"
            ),
        ),
        right(
            "autograd",
            "lets torch differentiate log-sum-exp",
            source=(
                "def logits_gradient(logits, labels):\n"
                "    z = torch.tensor(logits, requires_grad=True)\n"
                "    picked = z[torch.arange(len(labels)), torch.tensor(labels)]\n"
                "    (torch.logsumexp(z, dim=1) - picked).mean().backward()\n"
                "    return z.grad.numpy()\n"
            ),
        ),
    ],
    "standardise": [
        wrong(
            "leak",
            "statistics of all rows",
            objective="O4.6",
            replace=(
                "mean, spread = train.mean(axis=0), train.std(axis=0)",
                "both = np.concatenate([train, other])\n"
                "    mean, spread = both.mean(axis=0), both.std(axis=0)",
            ),
            loses=[SCALED],
        ),
        wrong(
            "own-statistics",
            "scales the other part with its own mean and spread",
            objective="O4.6",
            replace=(
                "(other - mean) / spread",
                "(other - other.mean(axis=0)) / np.maximum(other.std(axis=0), 1e-9)",
            ),
            loses=[SCALED],
        ),
        wrong(
            "whole-array",
            "one mean for all columns",
            objective="O4.6",
            replace=("train.mean(axis=0), train.std(axis=0)", "train.mean(), train.std()"),
            loses=[SCALED, CONSTANT],
        ),
        wrong(
            "variance",
            "divides by the variance",
            objective="O4.6",
            replace=("train.std(axis=0)", "train.var(axis=0)"),
            loses=[SCALED, CONSTANT],
        ),
        wrong(
            "n-minus-one",
            "divides by N - 1",
            objective="O4.6",
            replace=("train.std(axis=0)", "train.std(axis=0, ddof=1)"),
            loses=[SCALED, CONSTANT],
        ),
        wrong(
            "constant-column",
            "divides by a spread of zero",
            objective="O4.6",
            replace=("    spread = np.where(spread == 0, 1.0, spread)\n", ""),
            loses=[CONSTANT],
        ),
        wrong(
            "library-twin",
            "imports scikit-learn's scaler: blocked while this stage is graded",
            objective="O4.6",
            source=(
                "from sklearn.preprocessing import StandardScaler\n\n\n"
                "def standardise(train, other):\n"
                "    scaler = StandardScaler().fit(train)\n"
                "    return scaler.transform(train), scaler.transform(other)\n"
            ),
            loses=[SCALED, CONSTANT],
        ),
        right(
            "loop",
            "column by column, with the variance written out",
            source=(
                "def standardise(train, other):\n"
                "    a, b = np.zeros(train.shape), np.zeros(other.shape)\n"
                "    for f in range(train.shape[1]):\n"
                "        m = sum(train[:, f]) / len(train)\n"
                "        s = np.sqrt(np.mean((train[:, f] - m) ** 2)) or 1.0\n"
                "        a[:, f], b[:, f] = (train[:, f] - m) / s, (other[:, f] - m) / s\n"
                "    return a, b\n"
            ),
        ),
    ],
    "train-epoch": [
        wrong(
            "no-zero-grad",
            "never forgets the old gradients",
            objective="O4.1",
            replace=("        optimizer.zero_grad()\n", ""),
            loses=[MANY],
        ),
        wrong(
            "zero-grad-once",
            "zero_grad before the loop",
            objective="O4.1",
            replace=(
                "    for inputs, labels in batches:\n        optimizer.zero_grad()\n",
                "    optimizer.zero_grad()\n    for inputs, labels in batches:\n",
            ),
            loses=[MANY],
        ),
        wrong(
            "zero-grad-late",
            "zero_grad between backward and step: nothing moves",
            objective="O4.1",
            replace=("loss.backward()\n", "loss.backward()\n        optimizer.zero_grad()\n"),
            loses=[ONE, MANY],
        ),
        wrong(
            "no-step",
            "computes gradients and never uses them",
            objective="O4.1",
            replace=("        optimizer.step()\n", ""),
            loses=[ONE, MANY],
        ),
        wrong(
            "step-first",
            "step before backward: it finds no gradient",
            objective="O4.1",
            replace=(
                "        loss.backward()\n        optimizer.step()\n",
                "        optimizer.step()\n        loss.backward()\n",
            ),
            loses=[ONE, MANY],
        ),
        wrong(
            "one-step-per-epoch",
            "adds up the gradients of all batches, one step at the end",
            objective="O4.4",
            source=(
                "def train_epoch(model, loss_function, optimizer, batches):\n"
                "    optimizer.zero_grad()\n"
                "    total, count = 0.0, 0\n"
                "    for inputs, labels in batches:\n"
                "        loss = loss_function(model(inputs), labels)\n"
                "        loss.backward()\n"
                "        total += loss.item() * len(labels)\n"
                "        count += len(labels)\n"
                "    optimizer.step()\n"
                "    return total / count\n"
            ),
            loses=[MANY],
        ),
        wrong(
            "mean-of-means",
            "averages the batch means",
            objective="O4.4",
            replace=(
                "        total += loss.item() * len(labels)\n        count += len(labels)\n",
                "        total += loss.item()\n        count += 1\n",
            ),
            loses=[MEAN],
        ),
        wrong(
            "total",
            "returns the sum over the flowers",
            objective="O4.4",
            replace=("return total / count", "return total"),
            loses=[MEAN],
        ),
        wrong(
            "no-return",
            "returns nothing",
            objective="O4.4",
            replace=("    return total / count", "    total / count"),
            loses=[MEAN],
        ),
        wrong(
            "last-batch-only",
            "returns the loss of the last batch",
            objective="O4.4",
            replace=("return total / count", "return loss.item()"),
            loses=[MEAN],
        ),
        wrong(
            "softmax-in-the-model",
            "hands probabilities to the loss",
            objective="O4.4",
            replace=("logits = model(inputs)", "logits = model(inputs).softmax(dim=1)"),
            loses=[ONE, MANY, MEAN],
        ),
        right(
            "zero-grad-last",
            "forgets the gradients at the end of each round",
            source=(
                "def train_epoch(model, loss_function, optimizer, batches):\n"
                "    losses, sizes = [], []\n"
                "    for inputs, labels in batches:\n"
                "        loss = loss_function(model(inputs), labels)\n"
                "        loss.backward()\n"
                "        optimizer.step()\n"
                "        optimizer.zero_grad(set_to_none=False)\n"
                "        losses.append(loss.item())\n"
                "        sizes.append(inputs.shape[0])\n"
                "    return np.average(losses, weights=sizes)\n"
            ),
        ),
        right(
            "tensor-mean",
            "returns a tensor with one element",
            replace=("total += loss.item() * len(labels)", "total += loss.detach() * len(inputs)"),
        ),
    ],
    "confusion": [
        wrong(
            "transposed",
            "row = predicted class",
            objective="O4.5",
            replace=("matrix[t, p] += 1", "matrix[p, t] += 1"),
            loses=[MATRIX],
        ),
        wrong(
            "counts-once",
            "fancy indexing counts a repeated pair once",
            objective="O4.5",
            replace=(
                "    for t, p in zip(labels, predicted):\n        matrix[t, p] += 1\n",
                "    matrix[labels, predicted] += 1\n",
            ),
            loses=[MATRIX],
        ),
        wrong(
            "classes-that-occur",
            "ignores n_classes: a class that does not occur is missing",
            objective="O4.5",
            replace=(
                "matrix = np.zeros((n_classes, n_classes), dtype=int)",
                "n = len(np.unique(labels))\n    matrix = np.zeros((n, n), dtype=int)",
            ),
            loses=[MATRIX],
        ),
        wrong(
            "recall-precision-swapped",
            "divides recall by the columns",
            objective="O4.5",
            replace=("return recall, precision", "return precision, recall"),
            loses=[SHARES],
        ),
        wrong(
            "nan",
            "divides by zero for a class that is never predicted",
            objective="O4.5",
            replace=("np.maximum(matrix.sum(axis=0), 1)", "matrix.sum(axis=0)"),
            loses=[SHARES],
        ),
        wrong(
            "share-of-all",
            "divides by the number of all items",
            objective="O4.5",
            replace=("hits / np.maximum(matrix.sum(axis=1), 1)", "hits / matrix.sum()"),
            loses=[SHARES],
        ),
        wrong(
            "library-twin",
            "imports scikit-learn's matrix: blocked while this stage is graded",
            objective="O4.5",
            source=(
                "from sklearn.metrics import confusion_matrix as library_matrix\n\n\n"
                "def confusion_matrix(labels, predicted, n_classes):\n"
                "    return library_matrix(labels, predicted, labels=range(n_classes))\n\n\n"
                "def recall_and_precision(matrix):\n"
                "    hits = np.diag(matrix)\n"
                "    rows, columns = matrix.sum(axis=1), matrix.sum(axis=0)\n"
                "    return hits / np.maximum(rows, 1), hits / np.maximum(columns, 1)\n"
            ),
            loses=[MATRIX, SHARES],
        ),
        right(
            "bincount",
            "counts 1-D codes; divides where there is something to divide by",
            source=(
                "def confusion_matrix(labels, predicted, n_classes):\n"
                "    codes = n_classes * np.asarray(labels) + np.asarray(predicted)\n"
                "    counts = np.bincount(codes, minlength=n_classes**2)\n"
                "    return counts.reshape(n_classes, n_classes).astype(float)\n\n\n"
                "def recall_and_precision(matrix):\n"
                "    out = []\n"
                "    for axis in (1, 0):\n"
                "        total = matrix.sum(axis=axis)\n"
                "        share = np.zeros(len(matrix))\n"
                "        np.divide(np.diag(matrix), total, out=share, where=total > 0)\n"
                "        out.append(share)\n"
                "    return tuple(out)\n"
            ),
        ),
    ],
    "bug": [
        wrong(
            "only-the-choice",
            "still scales with all rows",
            objective="O4.6",
            replace=(
                "chosen[train].mean(axis=0), chosen[train].std(axis=0)",
                "chosen.mean(axis=0), chosen.std(axis=0)",
            ),
            loses=[SCALING],
        ),
        wrong(
            "only-the-scaling",
            "still chooses with all rows and labels",
            objective="O4.6",
            replace=("column_scores(X[train], labels[train])", "column_scores(X, labels)"),
            loses=[CHOICE],
        ),
        wrong(
            "choice-on-test",
            "chooses on the test rows",
            objective="O4.6",
            replace=(
                "column_scores(X[train], labels[train])",
                "column_scores(X[test], labels[test])",
            ),
            loses=[CHOICE],
        ),
        wrong(
            "test-statistics",
            "scales with the statistics of the test rows",
            objective="O4.6",
            replace=(
                "chosen[train].mean(axis=0), chosen[train].std(axis=0)",
                "chosen[test].mean(axis=0), chosen[test].std(axis=0)",
            ),
            loses=[SCALING],
        ),
        wrong(
            "worst-columns",
            "loses the minus sign: keeps the worst columns",
            objective="O4.6",
            replace=("np.argsort(-column_scores", "np.argsort(column_scores"),
            loses=[CHOICE],
        ),
        wrong(
            "no-scaling",
            "drops the scaling altogether",
            objective="O4.6",
            replace=(
                "mean, spread = chosen[train].mean(axis=0), chosen[train].std(axis=0)",
                "mean, spread = 0.0, 1.0",
            ),
            loses=[SCALING],
        ),
        right(
            "scale-first",
            "cuts the training part out first, and scales before it chooses",
            source=(
                "def select_and_predict(X, labels, train, test, keep):\n"
                "    A, a = X[train], labels[train]\n"
                "    mean, spread = A.mean(axis=0), A.std(axis=0)\n"
                "    A, B = (A - mean) / spread, (X[test] - mean) / spread\n"
                "    columns = np.argsort(column_scores(A, a))[::-1][:keep]\n"
                "    return columns, nearest_neighbour(A[:, columns], a, B[:, columns])\n"
            ),
        ),
    ],
    "nearest-mean": [
        wrong(
            "farthest",
            "argmax: the class that is farthest away",
            objective="O4.7",
            replace=("squared.argmin(axis=1)", "squared.argmax(axis=1)"),
            loses=["nearest-mean-check-1"],
        ),
        wrong(
            "nearest-flower",
            "the closest training row, not the closest mean",
            objective="O4.7",
            source=(
                "def nearest_mean(train_inputs, train_labels, inputs):\n"
                "    return nearest_neighbour(train_inputs, train_labels, inputs)\n"
            ),
            loses=["nearest-mean-check-1"],
        ),
        wrong(
            "mean-of-features",
            "one number per class: the mean over all features",
            objective="O4.7",
            replace=(".mean(axis=0) for c", ".mean() * np.ones(inputs.shape[1]) for c"),
            loses=["nearest-mean-check-1"],
        ),
        wrong(
            "signed-difference",
            "adds up differences without squaring them",
            objective="O4.7",
            replace=("((inputs[:, None, :] - means) ** 2)", "(inputs[:, None, :] - means)"),
            loses=["nearest-mean-check-1"],
        ),
        wrong(
            "wrong-axis",
            "one answer per class, not per input",
            objective="O4.7",
            replace=("squared.argmin(axis=1)", "squared.argmin(axis=0)"),
            loses=["nearest-mean-check-1"],
        ),
        right(
            "expanded",
            "drops the term that all classes share: |x|² - 2 x·m + |m|²",
            source=(
                "def nearest_mean(train_inputs, train_labels, inputs):\n"
                "    n = int(train_labels.max()) + 1\n"
                "    M = np.array([train_inputs[train_labels == c].mean(0) for c in range(n)])\n"
                "    return np.argmax(inputs @ M.T - 0.5 * np.sum(M * M, axis=1), axis=1)\n"
            ),
        ),
    ],
}

# these four also run through nbgrader
NBGRADER = ["reference", "stub", "train-epoch/mean-of-means", "stratified-split/choice"]
