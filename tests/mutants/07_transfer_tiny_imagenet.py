"""Wrong and odd-but-right answers for stage 7. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

SHAPE, STRIDE, PROJECTION = (f"block-check-{k}" for k in ("shape", "stride", "projection"))
RENAME = ["rename-check-1"]
KINDS, SHARE = "match-check-kinds", "match-check-share"
REFUSE, FILL = "load-check-refuse", "load-check-fill"
LEARNS, FROZEN = "head-check-learns", "head-check-frozen"
PARAMETERS, STATISTICS = "freeze-check-parameters", "freeze-check-statistics"
RATES = ["rates-check-1"]
TOP, TOP_FIVE = "topk-check-1", "topk-check-2"
CHOICE, FLATTERY = "honest-check-choice", "honest-check-flattery"

CONV1 = "nn.Conv2d(c_in, width, 1, bias=False)"
CONV2 = "nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)"
FREEZE = (
    "def freeze_body(model):\n"
    "    for name, parameter in model.named_parameters():\n"
    '        parameter.requires_grad_(name.startswith("fc."))\n\n\n'
)
FITTING = "fitting = {n: t for n, t in state.items() if n in own and own[n].shape == t.shape}"

MUTANTS = {
    "block": [
        wrong(
            "stride-in-conv1",
            "the paper's place of the stride: names and shapes are the same",
            objective="O7.2",
            replace=(
                f"{CONV1}\n        self.bn1 = nn.BatchNorm2d(width)\n        self.conv2 = {CONV2}",
                "nn.Conv2d(c_in, width, 1, stride=stride, bias=False)\n"
                "        self.bn1 = nn.BatchNorm2d(width)\n"
                "        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)",
            ),
            loses=[STRIDE],
        ),
        wrong(
            "no-projection-at-stride-1",
            "projects only where the stride is not 1",
            objective="O7.2",
            replace=("if stride != 1 or c_in != c_out:", "if stride != 1:"),
            loses=[PROJECTION],
        ),
        wrong(
            "no-projection-at-stride-2",
            "projects only where the channels change",
            objective="O7.2",
            replace=("if stride != 1 or c_in != c_out:", "if c_in != c_out:"),
            loses=[STRIDE, PROJECTION],
        ),
        wrong(
            "no-expansion",
            "the last convolution keeps the width",
            objective="O7.2",
            replace=("c_out = 4 * width", "c_out = width"),
            loses=[SHAPE, STRIDE, PROJECTION],
        ),
        wrong(
            "relu-before-sum",
            "a ReLU after the third norm, before the sum",
            objective="O7.2",
            replace=(
                "torch.relu(self.bn3(self.conv3(z)) + shortcut)",
                "torch.relu(torch.relu(self.bn3(self.conv3(z))) + shortcut)",
            ),
            loses=[SHAPE, STRIDE],
        ),
        wrong(
            "no-shortcut",
            "forgets the sum",
            objective="O7.2",
            replace=("self.bn3(self.conv3(z)) + shortcut", "self.bn3(self.conv3(z))"),
            loses=[SHAPE, STRIDE],
        ),
        wrong(
            "with-bias",
            "the last convolution has a bias",
            objective="O7.2",
            replace=(
                "nn.Conv2d(width, c_out, 1, bias=False)",
                "nn.Conv2d(width, c_out, 1)",
            ),
            loses=[SHAPE, STRIDE, PROJECTION],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O7.2",
            source="from xor2gpt.vision.resnet import Bottleneck\n",
            loses=[SHAPE, STRIDE, PROJECTION],
        ),
        right(
            "identity",
            "an identity module as the shortcut, activations as a module",
            source=(
                "class Bottleneck(nn.Module):\n"
                "    def __init__(self, c_in, width, stride=1):\n"
                "        super().__init__()\n"
                "        self.conv1 = nn.Conv2d(c_in, width, 1, 1, 0, bias=False)\n"
                "        self.bn1 = nn.BatchNorm2d(width)\n"
                "        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)\n"
                "        self.bn2 = nn.BatchNorm2d(width)\n"
                "        self.conv3 = nn.Conv2d(width, width * 4, 1, 1, 0, bias=False)\n"
                "        self.bn3 = nn.BatchNorm2d(width * 4)\n"
                "        self.act = nn.ReLU(inplace=True)\n"
                "        same = stride == 1 and c_in == width * 4\n"
                "        self.downsample = nn.Identity() if same else nn.Sequential(\n"
                "            nn.Conv2d(c_in, width * 4, 1, stride, bias=False),\n"
                "            nn.BatchNorm2d(width * 4))\n\n"
                "    def forward(self, x):\n"
                "        out = self.act(self.bn1(self.conv1(x)))\n"
                "        out = self.act(self.bn2(self.conv2(out)))\n"
                "        out = self.bn3(self.conv3(out))\n"
                "        return self.act(self.downsample(x) + out)\n"
            ),
        ),
    ],
    "rename": [
        wrong(
            "swapped",
            "weight and bias of the head change places",
            objective="O7.3",
            replace=(
                '"classifier.weight": "fc.weight",\n        "classifier.bias": "fc.bias",',
                '"classifier.weight": "fc.bias",\n        "classifier.bias": "fc.weight",',
            ),
            loses=RENAME,
        ),
        wrong(
            "drops-the-rest",
            "keeps the three renamed entries only",
            objective="O7.3",
            replace=(
                "{ours.get(name, name): tensor for name, tensor in state.items()}",
                "{ours[name]: tensor for name, tensor in state.items() if name in ours}",
            ),
            loses=RENAME,
        ),
        wrong(
            "keeps-the-old-too",
            "adds the new names beside the old ones",
            objective="O7.3",
            replace=(
                "return {ours.get(name, name)",
                "return dict(state) | {ours.get(name, name)",
            ),
            loses=RENAME,
        ),
        right(
            "in-place",
            "changes the argument and returns it",
            source=(
                "def rename_three(state):\n"
                '    state["conv1.weight"] = state.pop("stem.weight")\n'
                '    state["fc.weight"] = state.pop("classifier.weight")\n'
                '    state["fc.bias"] = state.pop("classifier.bias")\n'
                "    return state\n"
            ),
        ),
        right(
            "replace",
            "by replacing parts of the names",
            source=(
                "def rename_three(state):\n"
                "    out = {}\n"
                "    for name, tensor in state.items():\n"
                '        out[name.replace("stem", "conv1").replace("classifier", "fc")] = tensor\n'
                "    return out\n"
            ),
        ),
    ],
    "match": [
        wrong(
            "ignores-shapes",
            "a name that fits is enough",
            objective="O7.3",
            replace=("tuple(foreign[partner[name]]) == tuple(shape)", "True"),
            loses=[KINDS, SHARE],
        ),
        wrong(
            "mismatched-is-missing",
            "another shape counts as missing",
            objective="O7.3",
            replace=('kind = "mismatched"', 'kind = "missing"'),
            loses=[KINDS],
        ),
        wrong(
            "no-prefix",
            "does not remove prefixes",
            objective="O7.3",
            replace=("partner[raw[len(start) :]] = raw", "partner[raw] = raw"),
            loses=[KINDS, SHARE],
        ),
        wrong(
            "prefix-everywhere",
            "needs a prefix: names without one are cut by its length",
            objective="O7.3",
            replace=(
                'next((p for p in prefixes if raw.startswith(p)), "")',
                '(list(prefixes) or [""])[0]',
            ),
            loses=[KINDS],
        ),
        wrong(
            "share-of-names",
            "counts names in place of numbers",
            objective="O7.3",
            replace=("int(np.prod(shape)) for name", "1 for name"),
            loses=[SHARE],
        ),
        wrong(
            "share-of-the-file",
            "divides by the numbers in the file",
            objective="O7.3",
            replace=(
                "filled / sum(numbers.values())",
                "filled / sum(int(np.prod(s)) for s in foreign.values())",
            ),
            loses=[SHARE],
        ),
        wrong(
            "cleaned-unexpected",
            "reports unexpected names without their prefix",
            objective="O7.3",
            replace=("[raw for clean, raw in partner", "[clean for clean, raw in partner"),
            loses=[KINDS],
        ),
        right(
            "sets",
            "with set operations",
            source=(
                "def match(own, foreign, prefixes=()):\n"
                "    def clean(name):\n"
                "        for p in prefixes:\n"
                "            if name.startswith(p):\n"
                "                return name.removeprefix(p)\n"
                "        return name\n"
                "    there = {clean(n): n for n in foreign}\n"
                "    both = own.keys() & there.keys()\n"
                "    good = {n for n in both if list(own[n]) == list(foreign[there[n]])}\n"
                "    size = lambda names: sum(int(np.prod(own[n])) for n in names)\n"
                '    return {"loaded": sorted(good), "mismatched": sorted(both - good),\n'
                '            "missing": sorted(own.keys() - both),\n'
                '            "unexpected": sorted(there[n] for n in there.keys() - both),\n'
                '            "share": size(good) / size(own)}\n'
            ),
        ),
    ],
    "load": [
        wrong(
            "strict-false",
            "loads with strict=False and never looks: a file without a fitting name passes",
            objective="O7.3",
            replace=("if share < minimum:", "if False:"),
            loses=[REFUSE],
        ),
        wrong(
            "strict-true",
            "loads strictly: a new head cannot be left out",
            objective="O7.3",
            replace=("load_state_dict(fitting, strict=False)", "load_state_dict(state)"),
            loses=[FILL],
        ),
        wrong(
            "names-only",
            "strict=False with tensors of another shape: it raises",
            objective="O7.3",
            replace=("if n in own and own[n].shape == t.shape", "if n in own"),
            loses=[REFUSE, FILL],
        ),
        wrong(
            "loads-first",
            "loads, then refuses: the model is already changed",
            objective="O7.3",
            replace=(
                "    own = model.state_dict()\n    " + FITTING,
                "    own = model.state_dict()\n    "
                + FITTING
                + "\n    model.load_state_dict(fitting, strict=False)",
            ),
            loses=[REFUSE],
        ),
        wrong(
            "parameters-only",
            "leaves the running statistics out",
            objective="O7.3",
            replace=("own = model.state_dict()", "own = dict(model.named_parameters())"),
            loses=[FILL],
        ),
        wrong(
            "share-of-names",
            "counts names in place of numbers",
            objective="O7.3",
            replace=("{n: p.numel() for n, p", "{n: 1 for n, p"),
            loses=[FILL],
        ),
        right(
            "copy",
            "copies tensor by tensor",
            source=(
                "def load_weights(model, state, minimum):\n"
                "    own = model.state_dict()\n"
                "    names = [n for n in own if n in state and state[n].shape == own[n].shape]\n"
                "    total = filled = 0\n"
                "    for n, p in model.named_parameters():\n"
                "        total += p.numel()\n"
                "        filled += p.numel() if n in names else 0\n"
                "    if filled / total < minimum:\n"
                '        raise ValueError("too little matched")\n'
                "    with torch.no_grad():\n"
                "        for n in names:\n"
                "            own[n].copy_(state[n])\n"
                "    return filled / total\n"
            ),
        ),
    ],
    "head": [
        wrong(
            "optimizer-first",
            "the optimizer is made before the head and never moves it",
            objective="O7.4",
            source=(
                "def new_head(model, classes, rate):\n"
                "    optimizer = torch.optim.SGD(model.parameters(), lr=rate)\n"
                "    for parameter in model.parameters():\n"
                "        parameter.requires_grad_(False)\n"
                "    model.fc = nn.Linear(model.fc.in_features, classes)\n"
                "    return optimizer\n"
            ),
            loses=[LEARNS, FROZEN],
        ),
        wrong(
            "body-learns",
            "freezes nothing and trains everything",
            objective="O7.4",
            source=(
                "def new_head(model, classes, rate):\n"
                "    model.fc = nn.Linear(model.fc.in_features, classes)\n"
                "    return torch.optim.SGD(model.parameters(), lr=rate)\n"
            ),
            loses=[FROZEN],
        ),
        wrong(
            "frozen-head",
            "freezes after the head is made, so the head too",
            objective="O7.4",
            source=(
                "def new_head(model, classes, rate):\n"
                "    model.fc = nn.Linear(model.fc.in_features, classes)\n"
                "    for parameter in model.parameters():\n"
                "        parameter.requires_grad_(False)\n"
                "    return torch.optim.SGD(model.fc.parameters(), lr=rate)\n"
            ),
            loses=[LEARNS, FROZEN],
        ),
        wrong(
            "old-head",
            "keeps the head when the number of classes fits",
            objective="O7.4",
            replace=(
                "model.fc = nn.Linear(model.fc.in_features, classes)",
                "if classes != model.fc.out_features:\n"
                "        model.fc = nn.Linear(model.fc.in_features, classes)\n"
                "    model.fc.requires_grad_(True)",
            ),
            loses=[FROZEN],
        ),
        right(
            "all-parameters-after",
            "gives all parameters to an optimizer that is made last",
            source=(
                "def new_head(model, classes, rate):\n"
                "    model.requires_grad_(False)\n"
                "    model.fc = nn.Linear(model.fc.in_features, classes)\n"
                "    return torch.optim.SGD(model.parameters(), lr=rate)\n"
            ),
        ),
    ],
    "freeze": [
        wrong(
            "norms-in-train",
            "requires_grad only: the norms still move in training mode",
            objective="O7.4",
            replace=("            layer.eval()", "            pass"),
            loses=[STATISTICS],
        ),
        wrong(
            "all-eval",
            "puts the whole model into evaluation mode: no dropout",
            objective="O7.4",
            source=FREEZE + "def training_mode(model):\n    model.eval()\n",
            loses=[PARAMETERS, STATISTICS],
        ),
        wrong(
            "all-norms",
            "puts every norm into evaluation mode, also those that learn",
            objective="O7.4",
            replace=(" and not layer.weight.requires_grad", ""),
            loses=[PARAMETERS, STATISTICS],
        ),
        wrong(
            "eval-then-train",
            "sets the norms first, then everything back to training mode",
            objective="O7.4",
            source=FREEZE
            + (
                "def training_mode(model):\n"
                "    for layer in model.modules():\n"
                "        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:\n"
                "            layer.eval()\n"
                "    model.train()\n"
            ),
            loses=[STATISTICS],
        ),
        wrong(
            "convolutions-only",
            "freezes convolutions, not the norms' scale and shift",
            objective="O7.4",
            replace=(
                'name.startswith("fc.")',
                'name.startswith("fc.") or parameter.ndim == 1',
            ),
            loses=[PARAMETERS],
        ),
        wrong(
            "head-too",
            "freezes the head as well",
            objective="O7.4",
            replace=('name.startswith("fc.")', "False"),
            loses=[PARAMETERS],
        ),
        right(
            "by-hand",
            "modes and flags set by other means",
            source=(
                "def freeze_body(model):\n"
                "    model.requires_grad_(False)\n"
                "    model.fc.requires_grad_(True)\n\n\n"
                "def training_mode(model):\n"
                "    for layer in model.modules():\n"
                "        frozen = isinstance(layer, nn.modules.batchnorm._BatchNorm) and not any(\n"
                "            p.requires_grad for p in layer.parameters())\n"
                "        layer.training = not frozen\n"
            ),
        ),
    ],
    "rates": [
        wrong(
            "reversed",
            "the early layers are the fast ones",
            objective="O7.5",
            replace=(
                'stages - int(first.removeprefix("layer")) + 1',
                'int(first.removeprefix("layer"))',
            ),
            loses=RATES,
        ),
        wrong(
            "off-by-one",
            "the last stage gets the rate of the head",
            objective="O7.5",
            replace=(
                'stages - int(first.removeprefix("layer")) + 1',
                'stages - int(first.removeprefix("layer"))',
            ),
            loses=RATES,
        ),
        wrong(
            "conv1-anywhere",
            "takes every name that contains conv1 for the stem",
            objective="O7.5",
            replace=(
                'elif first.startswith("layer"):',
                'elif "conv1" not in name and "bn1.b" != first:',
            ),
            loses=RATES,
        ),
        wrong(
            "four-stages",
            "counts on four stages, as ResNet-50 has",
            objective="O7.5",
            replace=("    rates = {}\n", "    stages, rates = 4, {}\n"),
            loses=RATES,
        ),
        wrong(
            "linear",
            "multiplies by the depth in place of a power",
            objective="O7.5",
            replace=("head_rate * factor**power", "head_rate * (factor * power or 1)"),
            loses=RATES,
        ),
        right(
            "regex",
            "with a regular expression",
            source=(
                "def layer_rates(names, head_rate, factor):\n"
                "    import re\n"
                '    found = {n: re.match(r"layer(\\d+)\\.", n) for n in names}\n'
                "    last = max([int(m[1]) for m in found.values() if m] or [0])\n"
                "    def power(n):\n"
                '        if n.startswith("fc."):\n'
                "            return 0\n"
                "        return last + 1 - (int(found[n][1]) if found[n] else 0)\n"
                "    return {n: head_rate * factor ** power(n) for n in names}\n"
            ),
        ),
    ],
    "topk": [
        wrong(
            "top-1-only",
            "counts the largest logit only",
            objective="O7.6",
            replace=("[:, -k:]", "[:, -1:]"),
            loses=[TOP, TOP_FIVE],
        ),
        wrong(
            "smallest",
            "takes the k smallest logits",
            objective="O7.6",
            replace=("[:, -k:]", "[:, :k]"),
            loses=[TOP, TOP_FIVE],
        ),
        wrong(
            "place-k",
            "looks at the k-th place only",
            objective="O7.6",
            replace=("[:, -k:]", "[:, [-k]]"),
            loses=[TOP, TOP_FIVE],
        ),
        wrong(
            "mean-over-all",
            "takes the mean over rows and places: divided by k",
            objective="O7.6",
            replace=(".any(axis=1).mean()", ".mean()"),
            loses=[TOP, TOP_FIVE],
        ),
        wrong(
            "over-pictures",
            "sorts along the pictures",
            objective="O7.6",
            replace=("np.argsort(logits, axis=1)[:, -k:]", "np.argsort(logits, axis=0)[:, -k:]"),
            loses=[TOP, TOP_FIVE],
        ),
        right(
            "ranks",
            "counts larger logits",
            source=(
                "def top_k(logits, labels, k):\n"
                "    own = logits[np.arange(len(labels)), labels][:, None]\n"
                "    return float(np.mean((logits > own).sum(axis=1) < k))\n"
            ),
        ),
    ],
    "honest": [
        wrong(
            "test-chooses",
            "the test part chooses the epoch",
            objective="O7.7",
            replace=("np.argmax(validation.mean(axis=1))", "np.argmax(test.mean(axis=1))"),
            loses=[CHOICE, FLATTERY],
        ),
        wrong(
            "reports-the-best",
            "chooses by validation, but reports the best test accuracy",
            objective="O7.7",
            replace=("return epoch, honest,", "return epoch, float(accuracies.max()),"),
            loses=[CHOICE],
        ),
        wrong(
            "reports-validation",
            "reports the validation accuracy that chose",
            objective="O7.7",
            replace=(
                "honest = float(accuracies[epoch])",
                "honest = float(validation[epoch].mean())",
            ),
            loses=[CHOICE, FLATTERY],
        ),
        wrong(
            "last-of-equals",
            "takes the latest of equal epochs",
            objective="O7.7",
            replace=(
                "int(np.argmax(validation.mean(axis=1)))",
                "len(validation) - 1 - int(np.argmax(validation.mean(axis=1)[::-1]))",
            ),
            loses=[CHOICE],
        ),
        wrong(
            "validation-minus-test",
            "takes validation minus test for the flattery",
            objective="O7.7",
            replace=(
                "float(accuracies.max() - honest)",
                "float(validation[epoch].mean() - honest)",
            ),
            loses=[FLATTERY],
        ),
        right(
            "loop",
            "with a loop over the epochs",
            source=(
                "def honest_report(validation, test):\n"
                "    best, epoch = -1, 0\n"
                "    for e, row in enumerate(validation):\n"
                "        if row.sum() > best:\n"
                "            best, epoch = row.sum(), e\n"
                "    own = test[epoch].sum() / test.shape[1]\n"
                "    top = max(row.sum() for row in test) / test.shape[1]\n"
                "    return epoch, float(own), float(top - own)\n"
            ),
        ),
    ],
}

NBGRADER = ["reference", "stub", "freeze/norms-in-train", "load/copy"]
