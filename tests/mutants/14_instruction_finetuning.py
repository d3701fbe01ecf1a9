"""Wrong and odd-but-right answers for stage 14. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

PAIRS, FIELDS = "faults-check-pairs", "faults-check-fields"
WITH_INPUT, WITHOUT = "prompt-check-input", "prompt-check-without"
ENDS, PROMPT, CUT = (f"collate-check-{kind}" for kind in ("end", "prompt", "cut"))
SUM, GRADIENT = "response-loss-check-sum", "response-loss-check-gradient"
ONE, SEVERAL, CLIP = (f"step-check-{kind}" for kind in ("one", "several", "clip"))
STOPS, CARE = "respond-check-stops", "respond-check-care"
BEFORE, REFUSE = "extract-check-cut", "extract-check-refuse"
MATCH, DENOMINATOR = "score-check-match", "score-check-denominator"

MARKS = "any(mark in text for text in fields for mark in (*HEADINGS, END))"
NORMAL = '" ".join(text.lower().split())'
MASK = "targets[: len(prompt) - 1] = [-100] * (len(prompt) - 1)"
SHIFT = "ids, targets = row[:-1], row[1:]"
STEP_HEAD = (
    "def train_step(model, optimizer, batches, max_norm):\n"
    "    model.train()\n"
    "    optimizer.zero_grad()\n"
)
STEP_SUM = (
    "F.cross_entropy(\n"
    "            logits.flatten(0, 1), targets.flatten(), ignore_index=-100, "
    'reduction="sum"\n'
    "        )"
)
WINDOW = "ids[-model.config.context_length :]"
STRIPPED = '" ".join(text.split()).removesuffix(".").rstrip()'

MUTANTS = {
    "faults": [
        wrong(
            "conflict-is-duplicate",
            "compares the questions alone: another answer is called a duplicate",
            objective="O14.1",
            replace=("elif answers[asked, given] == answer:", "elif True:"),
            loses=[PAIRS],
        ),
        wrong(
            "no-conflict",
            "compares whole pairs: the same question with another answer is never found",
            objective="O14.1",
            source=(
                "def find_faults(entries):\n"
                '    found = {"empty": [], "duplicate": [], "conflict": [], "forged": []}\n'
                "    seen = set()\n"
                "    for i, entry in enumerate(entries):\n"
                '        fields = [entry[k] for k in ("instruction", "input", "output")]\n'
                f"        if {MARKS}:\n"
                '            found["forged"].append(i)\n'
                '        key = tuple(" ".join(text.lower().split()) for text in fields)\n'
                "        if not key[0] or not key[2]:\n"
                '            found["empty"].append(i)\n'
                "        elif key in seen:\n"
                '            found["duplicate"].append(i)\n'
                "        seen.add(key)\n"
                "    return found\n"
            ),
            loses=[PAIRS],
        ),
        wrong(
            "latest-answer",
            "compares with the latest entry that asks the same, not with the first",
            objective="O14.1",
            replace=(
                '            found["conflict"].append(index)\n',
                '            found["conflict"].append(index)\n'
                "            answers[asked, given] = answer\n",
            ),
            loses=[PAIRS],
        ),
        wrong(
            "no-normal-form",
            "compares letter by letter: a capital or a space makes a new question",
            objective="O14.1",
            replace=(NORMAL, "text.strip()"),
            loses=[PAIRS],
        ),
        wrong(
            "ignores-input",
            "two questions with another input are the same question",
            objective="O14.1",
            replace=(
                "        if not asked or not answer:",
                '        given = ""\n        if not asked or not answer:',
            ),
            loses=[PAIRS, FIELDS],
        ),
        wrong(
            "empty-input",
            "an entry without an input is called empty",
            objective="O14.1",
            replace=("if not asked or not answer:", "if not (asked and given and answer):"),
            loses=[PAIRS, FIELDS],
        ),
        wrong(
            "white-space-is-text",
            "looks for texts without a character: one of white space is not found",
            objective="O14.1",
            replace=("if not asked or not answer:", "if not fields[0] or not fields[2]:"),
            loses=[FIELDS],
        ),
        wrong(
            "headings-only",
            "looks for headings, and lets a forged end of text through",
            objective="O14.1",
            replace=("(*HEADINGS, END)", "HEADINGS"),
            loses=[FIELDS],
        ),
        wrong(
            "input-only",
            "trusts instruction and output: looks for marks in the input alone",
            objective="O14.1",
            replace=("for text in fields for mark", "for text in fields[1:2] for mark"),
            loses=[FIELDS],
        ),
        wrong(
            "one-fault-each",
            "goes on to the next entry after an empty one: its forged field is not seen",
            objective="O14.1",
            source=(
                "def find_faults(entries):\n"
                '    found = {"empty": [], "duplicate": [], "conflict": [], "forged": []}\n'
                "    answers = {}\n"
                "    for i, entry in enumerate(entries):\n"
                '        fields = [entry[k] for k in ("instruction", "input", "output")]\n'
                '        a, b, c = (" ".join(text.lower().split()) for text in fields)\n'
                "        if not a or not c:\n"
                '            found["empty"].append(i)\n'
                "            continue\n"
                f"        if {MARKS}:\n"
                '            found["forged"].append(i)\n'
                "        if (a, b) not in answers:\n"
                "            answers[a, b] = c\n"
                "        elif answers[a, b] == c:\n"
                '            found["duplicate"].append(i)\n'
                "        else:\n"
                '            found["conflict"].append(i)\n'
                "    return found\n"
            ),
            loses=[FIELDS],
        ),
        right(
            "by-kind",
            "four passes, one for each kind; numbers instead of a dict of answers",
            source=(
                "def find_faults(entries):\n"
                '    names = ("instruction", "input", "output")\n'
                '    rows = [[" ".join(e[k].casefold().split()) for k in names] for e in entries]\n'
                "    full = [i for i, (a, _, c) in enumerate(rows) if a and c]\n"
                "    first = {}\n"
                "    for i in full:\n"
                "        first.setdefault(tuple(rows[i][:2]), i)\n"
                "    later = [i for i in full if first[tuple(rows[i][:2])] != i]\n"
                "    same = {i: rows[first[tuple(rows[i][:2])]] == rows[i] for i in later}\n"
                "    return {\n"
                '        "forged": [\n'
                "            i\n"
                "            for i, e in enumerate(entries)\n"
                "            if sum(e[k].count(m) for k in names for m in [*HEADINGS, END])\n"
                "        ],\n"
                '        "empty": sorted(set(range(len(rows))) - set(full)),\n'
                '        "duplicate": [i for i in later if same[i]],\n'
                '        "conflict": [i for i in later if not same[i]],\n'
                "    }\n"
            ),
        ),
        right(
            "pattern",
            "a regular expression for the marks, and a search through earlier entries",
            source=(
                "def find_faults(entries):\n"
                "    import re\n\n"
                '    marks = re.compile("|".join(map(re.escape, [END, *HEADINGS])))\n'
                '    names = ("instruction", "input", "output")\n'
                '    kinds = {"forged": [], "conflict": [], "duplicate": [], "empty": []}\n'
                "    earlier = []\n"
                "    for i, entry in enumerate(entries):\n"
                "        if any(marks.search(entry[k]) for k in names):\n"
                '            kinds["forged"] += [i]\n'
                '        low = [re.sub(r"\\s+", " ", entry[k].lower()) for k in names]\n'
                "        a, b, c = map(str.strip, low)\n"
                '        if a == "" or c == "":\n'
                '            kinds["empty"] += [i]\n'
                "            continue\n"
                "        known = [one for one in earlier if one[:2] == (a, b)]\n"
                "        earlier.append((a, b, c))\n"
                "        if known:\n"
                '            kinds["duplicate" if known[0][2] == c else "conflict"] += [i]\n'
                "    return kinds\n"
            ),
        ),
    ],
    "prompt": [
        wrong(
            "with-output",
            "writes the answer into the prompt",
            objective="O14.1",
            replace=(
                'return text + "\\n\\n### Response:\\n"',
                'return text + "\\n\\n### Response:\\n" + entry.get("output", "")',
            ),
            loses=[WITH_INPUT, WITHOUT],
        ),
        wrong(
            "no-last-break",
            "leaves out the line break after the last heading",
            objective="O14.1",
            replace=('"\\n\\n### Response:\\n"', '"\\n\\n### Response:"'),
            loses=[WITH_INPUT, WITHOUT],
        ),
        wrong(
            "empty-heading",
            "writes the input's heading even when there is no input",
            objective="O14.1",
            replace=("if has_input:\n        text +=", "if True:\n        text +="),
            loses=[WITHOUT],
        ),
        wrong(
            "one-sentence",
            "uses the first sentence of entries with input for all of them",
            objective="O14.1",
            replace=("WITH_INPUT if has_input else PLAIN", "WITH_INPUT"),
            loses=[WITHOUT],
        ),
        wrong(
            "white-space-input",
            "an input of white space counts as an input",
            objective="O14.1",
            replace=("bool(given.strip())", "bool(given)"),
            loses=[WITHOUT],
        ),
        wrong(
            "needs-input",
            "asks for the field without thinking of entries that have none",
            objective="O14.1",
            replace=('entry.get("input", "")', 'entry["input"]'),
            loses=[WITHOUT],
        ),
        wrong(
            "format-twice",
            "fills one template after the other: braces in a field are taken for fields",
            objective="O14.1",
            replace=(
                '    text += "\\n\\n### Instruction:\\n" + entry["instruction"]\n'
                "    if has_input:\n"
                '        text += "\\n\\n### Input:\\n" + given\n',
                '    text += "\\n\\n### Instruction:\\n{instruction}"\n'
                '    text = text.replace("{instruction}", entry["instruction"])\n'
                "    if has_input:\n"
                '        text += "\\n\\n### Input:\\n{input}"\n'
                '        text = text.replace("{input}", given)\n',
            ),
            loses=[WITH_INPUT],
        ),
        right(
            "joined",
            "joins the blocks by blank lines",
            source=(
                "def make_prompt(entry):\n"
                '    blocks = [PLAIN, "### Instruction:\\n" + entry["instruction"]]\n'
                '    if (entry.get("input") or "").strip():\n'
                "        blocks[0] = WITH_INPUT\n"
                '        blocks.append("### Input:\\n" + entry["input"])\n'
                '    return "\\n\\n".join([*blocks, "### Response:\\n"])\n'
            ),
        ),
        right(
            "two-templates",
            "two f-strings, one for each case",
            source=(
                "def make_prompt(entry):\n"
                '    task, given = entry["instruction"], entry.get("input", "")\n'
                "    if not given or given.isspace():\n"
                '        return f"{PLAIN}\\n\\n{HEADINGS[0]}\\n{task}\\n\\n{HEADINGS[2]}\\n"\n'
                "    return (\n"
                '        f"{WITH_INPUT}\\n\\n{HEADINGS[0]}\\n{task}\\n\\n"\n'
                '        f"{HEADINGS[1]}\\n{given}\\n\\n{HEADINGS[2]}\\n"\n'
                "    )\n"
            ),
        ),
    ],
    "collate": [
        wrong(
            "ignores-every-end",
            "ignores every end of text, the first one too: the model never stops",
            objective="O14.2",
            replace=(
                "    return inputs, labels",
                "    labels[labels == end_id] = -100\n    return inputs, labels",
            ),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "by-value",
            "finds the padding by its value: an end of text inside a response is lost",
            objective="O14.2",
            source=(
                "def collate(pairs, end_id, mask_prompt=True, max_length=None):\n"
                "    rows = [[*p, *r, end_id] for p, r in pairs]\n"
                "    width = max(map(len, rows))\n"
                "    full = [row + [end_id] * (width - len(row)) for row in rows]\n"
                "    inputs = torch.tensor([row[:-1] for row in full])\n"
                "    labels = torch.tensor([row[1:] for row in full])\n"
                "    for number, (prompt, _) in enumerate(pairs):\n"
                "        ends = torch.nonzero(labels[number] == end_id).squeeze(1)\n"
                "        labels[number, ends[1:]] = -100\n"
                "        if mask_prompt:\n"
                "            labels[number, : len(prompt) - 1] = -100\n"
                "    longest = min(max_length or width, width - 1)\n"
                "    return inputs[:, :longest], labels[:, :longest]\n"
            ),
            loses=[ENDS],
        ),
        wrong(
            "off-by-one",
            "ignores as many targets as the prompt has tokens: the first answer token is lost",
            objective="O14.2",
            replace=(MASK, "targets[: len(prompt)] = [-100] * len(prompt)"),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "one-too-few",
            "ignores one target too few: the prompt's last token is learned",
            objective="O14.2",
            replace=(
                MASK,
                "n = max(0, len(prompt) - 2)\n            targets[:n] = [-100] * n",
            ),
            loses=[PROMPT, CUT],
        ),
        wrong(
            "never-masks",
            "the instruction is not masked when asked",
            objective="O14.2",
            replace=("if mask_prompt:", "if False:"),
            loses=[PROMPT, CUT],
        ),
        wrong(
            "always-masks",
            "the instruction is masked even when it is to be learned",
            objective="O14.2",
            replace=("if mask_prompt:", "if True:"),
            loses=[PROMPT, CUT],
        ),
        wrong(
            "padding-counts",
            "padding is counted in the loss: the targets are filled up with the end, too",
            objective="O14.2",
            replace=(
                "labels = torch.full((len(rows), T), -100)",
                "labels = torch.full((len(rows), T), end_id)",
            ),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "no-end",
            "forgets the end of text",
            objective="O14.2",
            replace=("[*prompt, *response, end_id]", "[*prompt, *response]"),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "not-shifted",
            "targets are the inputs: the model learns to copy",
            objective="O14.2",
            replace=(SHIFT, "ids, targets = row[:-1], row[:-1]"),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "shifted-twice",
            "shifts by two: each target is the token after the next",
            objective="O14.2",
            replace=(SHIFT, "ids, targets = row[:-1], [*row[2:], -100]"),
            loses=[ENDS, PROMPT, CUT],
        ),
        wrong(
            "masks-inputs",
            "hides the prompt from the inputs as well",
            objective="O14.2",
            replace=(
                MASK,
                MASK + "\n            ids[: len(prompt) - 1] = [end_id] * (len(prompt) - 1)",
            ),
            loses=[PROMPT, CUT],
        ),
        wrong(
            "end-after-cut",
            "cuts the row and then adds an end of text: teaches to stop in the middle",
            objective="O14.2",
            replace=(
                "row = [*prompt, *response, end_id]",
                "row = [*prompt, *response][:max_length]\n        row.append(end_id)",
            ),
            loses=[CUT],
        ),
        wrong(
            "width-before-cut",
            "measures the width before it cuts",
            objective="O14.2",
            replace=(
                "T = max(len(ids) for ids, _ in rows)",
                "T = max(len(p) + len(r) for p, r in pairs)",
            ),
            loses=[CUT],
        ),
        right(
            "whole-rectangle",
            "one rectangle of the whole rows, cut and masked by places",
            source=(
                "def collate(pairs, end_id, mask_prompt=True, max_length=None):\n"
                "    rows = [list(p) + list(r) + [end_id] for p, r in pairs]\n"
                "    width = max(len(row) for row in rows)\n"
                "    whole = torch.tensor([r + [end_id] * (width - len(r)) for r in rows])\n"
                "    inputs, labels = whole[:, :-1], whole[:, 1:].clone()\n"
                "    place = torch.arange(width - 1)\n"
                "    lengths = torch.tensor([[len(row) - 1] for row in rows])\n"
                "    labels[place >= lengths] = -100\n"
                "    if mask_prompt:\n"
                "        first = torch.tensor([[len(p) - 1] for p, _ in pairs])\n"
                "        labels[place < first] = -100\n"
                "    T = min(width - 1, max_length or width)\n"
                "    return inputs[:, :T], labels[:, :T]\n"
            ),
        ),
        right(
            "pad-sequence",
            "torch's pad_sequence, and lists in place of a tuple",
            source=(
                "def collate(pairs, end_id, mask_prompt=True, max_length=None):\n"
                "    from torch.nn.utils.rnn import pad_sequence\n\n"
                "    inputs, labels = [], []\n"
                "    for prompt, response in pairs:\n"
                "        row = torch.tensor([*prompt, *response, end_id])\n"
                "        label = row[1:].clone()\n"
                "        if mask_prompt:\n"
                "            label[: len(prompt) - 1] = -100\n"
                "        inputs.append(row[:-1][:max_length])\n"
                "        labels.append(label[:max_length])\n"
                "    return [\n"
                "        pad_sequence(inputs, batch_first=True, padding_value=end_id),\n"
                "        pad_sequence(labels, batch_first=True, padding_value=-100),\n"
                "    ]\n"
            ),
        ),
    ],
    "response-loss": [
        wrong(
            "mean",
            "gives the mean in place of the sum",
            objective="O14.3",
            replace=('reduction="sum"', 'reduction="mean"'),
            loses=[SUM, GRADIENT],
        ),
        wrong(
            "counts-all",
            "counts all places, the ignored ones too",
            objective="O14.3",
            replace=("int((targets != -100).sum())", "targets.numel()"),
            loses=[SUM],
        ),
        wrong(
            "counts-padding",
            "padding is counted in the loss, as if token 0 were wanted there",
            objective="O14.3",
            replace=("targets.flatten(), ignore_index=-100", "targets.clamp(min=0).flatten()"),
            loses=[SUM, GRADIENT],
        ),
        wrong(
            "detached",
            "gives the sum as a number: nothing can be learned from it",
            objective="O14.3",
            replace=("return total, int", "return total.item(), int"),
            loses=[GRADIENT],
        ),
        wrong(
            "shifts-again",
            "shifts the targets, which are shifted already",
            objective="O14.3",
            source=(
                "def response_loss(logits, targets):\n"
                "    logits, targets = logits[:, :-1], targets[:, 1:]\n"
                "    total = F.cross_entropy(\n"
                '        logits.flatten(0, 1), targets.flatten(), reduction="sum"\n'
                "    )\n"
                "    return total, int((targets != -100).sum())\n"
            ),
            loses=[SUM, GRADIENT],
        ),
        wrong(
            "bits",
            "gives bits in place of nats",
            objective="O14.3",
            replace=("return total, int", "return total / math.log(2), int"),
            loses=[SUM, GRADIENT],
        ),
        wrong(
            "view-without-transpose",
            "hands over time as classes after a view: right sizes, wrong numbers",
            objective="O14.3",
            replace=(
                "logits.flatten(0, 1), targets.flatten()",
                "logits.reshape(len(logits), logits.shape[2], -1), targets",
            ),
            loses=[SUM, GRADIENT],
        ),
        right(
            "gathered",
            "takes the log-probabilities of the targets by hand",
            source=(
                "def response_loss(logits, targets):\n"
                "    keep = targets != -100\n"
                "    log_p = torch.log_softmax(logits, dim=-1)[keep]\n"
                "    picked = log_p.gather(1, targets[keep][:, None])\n"
                "    return -picked.sum(), keep.sum()\n"
            ),
        ),
        right(
            "by-row",
            "adds up the rows in a loop, with the classes in the second axis",
            source=(
                "def response_loss(logits, targets):\n"
                "    total, count = logits.sum() * 0, 0\n"
                "    for row, wanted in zip(logits, targets):\n"
                "        total = total + F.cross_entropy(row, wanted, reduction='none').sum()\n"
                "        count += len([t for t in wanted.tolist() if t != -100])\n"
                "    return total, count\n"
            ),
        ),
    ],
    "sft-step": [
        wrong(
            "mean-of-means",
            "each small batch is divided by its own count",
            objective="O14.3",
            source=(
                STEP_HEAD + "    loss = 0.0\n"
                "    for ids, targets in batches:\n"
                "        logits, _ = model(ids)\n"
                "        part = F.cross_entropy(logits.flatten(0, 1), targets.flatten())\n"
                "        (part / len(batches)).backward()\n"
                "        loss += float(part.detach()) / len(batches)\n"
                "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
                "    optimizer.step()\n"
                "    return loss\n"
            ),
            loses=[SEVERAL, CLIP],
        ),
        wrong(
            "counts-padding",
            "padding is in the count that the sum is divided by",
            objective="O14.3",
            replace=(
                "sum(int((targets != -100).sum()) for _, targets in batches)",
                "sum(targets.numel() for _, targets in batches)",
            ),
            loses=[ONE, SEVERAL],
        ),
        wrong(
            "keeps-gradients",
            "old gradients are not cleared",
            objective="O14.3",
            replace=("    optimizer.zero_grad()\n", ""),
            loses=[ONE, SEVERAL, CLIP],
        ),
        wrong(
            "clears-inside",
            "clears the gradients before each small batch: only the last one counts",
            objective="O14.3",
            replace=(
                "        logits, _ = model(ids)\n",
                "        optimizer.zero_grad()\n        logits, _ = model(ids)\n",
            ),
            loses=[SEVERAL, CLIP],
        ),
        wrong(
            "steps-inside",
            "steps after each small batch",
            objective="O14.3",
            source=(
                STEP_HEAD
                + "    count = sum(int((targets != -100).sum()) for _, targets in batches)\n"
                "    loss = 0.0\n"
                "    for ids, targets in batches:\n"
                "        logits, _ = model(ids)\n"
                "        part = F.cross_entropy(\n"
                '            logits.flatten(0, 1), targets.flatten(), reduction="sum"\n'
                "        )\n"
                "        (part / count).backward()\n"
                "        loss += float(part.detach()) / count\n"
                "        nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
                "        optimizer.step()\n"
                "        optimizer.zero_grad()\n"
                "    return loss\n"
            ),
            loses=[SEVERAL, CLIP],
        ),
        wrong(
            "clips-inside",
            "clips the gradient after each small batch, before it is whole",
            objective="O14.3",
            replace=(
                "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n",
                "        nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n",
            ),
            loses=[CLIP],
        ),
        wrong(
            "never-clips",
            "does not clip",
            objective="O14.3",
            replace=("    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n", ""),
            loses=[CLIP],
        ),
        wrong(
            "clips-values",
            "clips each number in place of the norm",
            objective="O14.3",
            replace=("clip_grad_norm_", "clip_grad_value_"),
            loses=[CLIP],
        ),
        wrong(
            "evaluation-mode",
            "trains in the mode that the last evaluation left",
            objective="O14.3",
            replace=("    model.train()\n", ""),
            loses=[ONE],
        ),
        wrong(
            "loss-of-the-last",
            "returns the loss of the last small batch",
            objective="O14.3",
            replace=("loss += float", "loss = float"),
            loses=[SEVERAL],
        ),
        right(
            "scales-gradients",
            "adds gradients of sums, and divides them by the count at the end",
            source=(
                "def train_step(model, optimizer, batches, max_norm):\n"
                "    optimizer.zero_grad()\n"
                "    model.train()\n"
                "    total, count = 0.0, 0\n"
                "    for ids, targets in batches:\n"
                "        log_p = model(ids)[0].log_softmax(dim=-1)\n"
                "        keep = targets != -100\n"
                "        loss = -log_p[keep].gather(1, targets[keep][:, None]).sum()\n"
                "        loss.backward()\n"
                "        total, count = total + loss.item(), count + int(keep.sum())\n"
                "    for parameter in model.parameters():\n"
                "        parameter.grad /= count\n"
                "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
                "    optimizer.step()\n"
                "    return total / count\n"
            ),
        ),
        right(
            "one-graph",
            "adds the losses and goes back once; clears the gradients at the end as well",
            source=(
                STEP_HEAD + "    sums, count = [], 0\n"
                "    for ids, targets in batches:\n"
                "        logits = model(ids)[0].transpose(1, 2)\n"
                '        sums.append(F.cross_entropy(logits, targets, reduction="sum"))\n'
                "        count += (targets >= 0).sum()\n"
                "    loss = torch.stack(sums).sum() / count\n"
                "    loss.backward()\n"
                "    nn.utils.clip_grad_norm_(list(model.parameters()), max_norm)\n"
                "    optimizer.step()\n"
                "    optimizer.zero_grad()\n"
                "    return loss.item()\n"
            ),
        ),
    ],
    "respond": [
        wrong(
            "keeps-end",
            "the end of text is part of the reply",
            objective="O14.4",
            replace=(
                "            if token == end_id:\n"
                "                break\n"
                "            ids.append(token)\n",
                "            ids.append(token)\n"
                "            if token == end_id:\n"
                "                break\n",
            ),
            loses=[STOPS, CARE],
        ),
        wrong(
            "never-stops",
            "goes on to the limit and does not look for the end",
            objective="O14.4",
            replace=(
                "            if token == end_id:\n                break\n",
                "",
            ),
            loses=[STOPS, CARE],
        ),
        wrong(
            "cuts-afterwards",
            "goes on to the limit and cuts at the end afterwards: right, and slow",
            objective="O14.4",
            source=(
                "def respond(model, prompt, end_id, most):\n"
                "    mode = model.training\n"
                "    model.eval()\n"
                "    ids = list(prompt)\n"
                "    with torch.no_grad():\n"
                "        for _ in range(most):\n"
                f"            logits, _ = model(torch.tensor([{WINDOW}]))\n"
                "            ids.append(int(logits[0, -1].argmax()))\n"
                "    model.train(mode)\n"
                "    said = ids[len(prompt) :]\n"
                "    return said[: said.index(end_id)] if end_id in said else said\n"
            ),
            loses=[STOPS, CARE],
        ),
        wrong(
            "with-prompt",
            "returns the prompt as well",
            objective="O14.4",
            replace=("return ids[len(prompt) :]", "return ids"),
            loses=[STOPS, CARE],
        ),
        wrong(
            "end-in-prompt",
            "looks for the end in everything, also in the prompt",
            objective="O14.4",
            replace=("if token == end_id:", "if end_id in [*ids, token]:"),
            loses=[STOPS],
        ),
        wrong(
            "no-crop",
            "does not crop to the context",
            objective="O14.4",
            replace=(WINDOW, "ids"),
            loses=[CARE],
        ),
        wrong(
            "oldest",
            "crops to the oldest tokens: the newest are not read",
            objective="O14.4",
            replace=(WINDOW, "ids[: model.config.context_length]"),
            loses=[CARE],
        ),
        wrong(
            "first-place",
            "reads the prediction at the first place",
            objective="O14.4",
            replace=("logits[0, -1]", "logits[0, 0]"),
            loses=[STOPS, CARE],
        ),
        wrong(
            "training-mode",
            "answers in the mode in which the model comes",
            objective="O14.4",
            replace=("    model.eval()\n", ""),
            loses=[STOPS, CARE],
        ),
        wrong(
            "leaves-eval",
            "leaves the model in evaluation mode",
            objective="O14.4",
            replace=("    model.train(mode)\n", ""),
            loses=[CARE],
        ),
        wrong(
            "records-gradients",
            "records gradients while it answers",
            objective="O14.4",
            replace=("torch.no_grad()", "torch.enable_grad()"),
            loses=[CARE],
        ),
        right(
            "while-loop",
            "keeps the reply apart; a while loop and inference mode",
            source=(
                "@torch.inference_mode()\n"
                "def respond(model, prompt, end_id, most):\n"
                "    before, said = model.training, []\n"
                "    model.train(False)\n"
                "    while len(said) < most:\n"
                "        window = (list(prompt) + said)[-model.config.context_length :]\n"
                "        scores = model(torch.as_tensor(window).unsqueeze(0))[0][0, -1]\n"
                "        said.append(scores.topk(1).indices.item())\n"
                "        if said[-1] == end_id:\n"
                "            said.pop()\n"
                "            break\n"
                "    model.train(before)\n"
                "    return said\n"
            ),
        ),
        right(
            "tensor",
            "grows a tensor and gives its numbers back",
            source=(
                "def respond(model, prompt, end_id, most):\n"
                "    mode, start = model.training, len(prompt)\n"
                "    ids = torch.tensor([prompt])\n"
                "    model.eval()\n"
                "    try:\n"
                "        for _ in range(most):\n"
                "            with torch.no_grad():\n"
                "                logits = model(ids[:, -model.config.context_length :])[0]\n"
                "            token = logits[:, -1].softmax(-1).argmax(-1, keepdim=True)\n"
                "            if int(token) == end_id:\n"
                "                break\n"
                "            ids = torch.cat([ids, token], dim=1)\n"
                "    finally:\n"
                "        model.train(mode)\n"
                "    return ids[0, start:].tolist()\n"
            ),
        ),
    ],
    "extract": [
        wrong(
            "last-heading",
            "searches the last heading of the response from the right",
            objective="O14.4",
            replace=("text[len(prompt) :]", "text[text.rindex(HEADINGS[2]) + 13 :]"),
            loses=[BEFORE, REFUSE],
        ),
        wrong(
            "first-heading",
            "searches the first heading of the response from the left",
            objective="O14.4",
            replace=("text[len(prompt) :]", "text.split(HEADINGS[2], 1)[-1]"),
            loses=[BEFORE, REFUSE],
        ),
        wrong(
            "lstrip",
            "lstrip takes a set of letters away, not a beginning",
            objective="O14.4",
            replace=("text[len(prompt) :]", "text.lstrip(prompt)"),
            loses=[BEFORE, REFUSE],
        ),
        wrong(
            "replaces",
            "removes the prompt wherever it stands, and does not ask whether it was there",
            objective="O14.4",
            source=(
                "def extract(text, prompt):\n"
                '    answer = text.replace(prompt, "")\n'
                "    for mark in (*HEADINGS, END):\n"
                "        answer = answer.split(mark)[0]\n"
                "    return answer.strip()\n"
            ),
            loses=[REFUSE],
        ),
        wrong(
            "goes-on",
            "keeps the next turn that the model wrote",
            objective="O14.4",
            replace=("for mark in (*HEADINGS, END):", "for mark in (END,):"),
            loses=[BEFORE],
        ),
        wrong(
            "no-end-of-text",
            "cuts at headings and leaves the end of text in the answer",
            objective="O14.4",
            replace=("for mark in (*HEADINGS, END):", "for mark in HEADINGS:"),
            loses=[BEFORE],
        ),
        wrong(
            "first-mark-only",
            "cuts at the first mark of the list that occurs, not at the first in the text",
            objective="O14.4",
            replace=(
                "        answer = answer.split(mark)[0]\n",
                "        if mark in answer:\n"
                "            answer = answer.split(mark)[0]\n"
                "            break\n",
            ),
            loses=[BEFORE],
        ),
        wrong(
            "first-line",
            "takes the first line that is not empty",
            objective="O14.4",
            replace=("return answer.strip()", "return answer.split(chr(10))[0].strip()"),
            loses=[BEFORE],
        ),
        wrong(
            "not-stripped",
            "leaves white space at the ends",
            objective="O14.4",
            replace=("return answer.strip()", "return answer"),
            loses=[BEFORE, REFUSE],
        ),
        right(
            "find",
            "looks for the places of all marks and takes the smallest",
            source=(
                "def extract(text, prompt):\n"
                "    if text[: len(prompt)] != prompt:\n"
                '        raise ValueError("another prompt")\n'
                "    places = [text.find(mark, len(prompt)) for mark in [END, *HEADINGS]]\n"
                "    end = min([place for place in places if place >= 0], default=len(text))\n"
                "    return text[len(prompt) : end].strip()\n"
            ),
        ),
        right(
            "regular-expression",
            "removeprefix and a regular expression",
            source=(
                "def extract(text, prompt):\n"
                "    import re\n\n"
                "    if not text.startswith(prompt):\n"
                "        raise ValueError(prompt)\n"
                '    pattern = "|".join(map(re.escape, (*HEADINGS, END)))\n'
                "    return re.split(pattern, text.removeprefix(prompt))[0].strip()\n"
            ),
        ),
    ],
    "score": [
        wrong(
            "substring",
            "an answer that contains the reference is right",
            objective="O14.5",
            replace=('found == normal(entry["output"])', 'normal(entry["output"]) in found'),
            loses=[MATCH],
        ),
        wrong(
            "substring-reversed",
            "an answer that is a part of the reference is right",
            objective="O14.5",
            replace=('found == normal(entry["output"])', 'found in normal(entry["output"])'),
            loses=[MATCH],
        ),
        wrong(
            "drops-unread",
            "answers that cannot be read leave the denominator",
            objective="O14.5",
            replace=("hits / len(entries)", "hits / max(1, len(entries) - unread)"),
            loses=[DENOMINATOR],
        ),
        wrong(
            "drops-from-families",
            "answers that cannot be read are not in the table by family",
            objective="O14.5",
            replace=("(right + hit, total + 1)", "(right + hit, total + bool(found))"),
            loses=[DENOMINATOR],
        ),
        wrong(
            "small-letters",
            "makes all letters small: capitals are content in a task about capitals",
            objective="O14.5",
            replace=(STRIPPED, STRIPPED + ".lower()"),
            loses=[MATCH],
        ),
        wrong(
            "as-written",
            "compares letter by letter: a line break or a full stop makes an answer wrong",
            objective="O14.5",
            replace=(STRIPPED, "text"),
            loses=[MATCH, DENOMINATOR],
        ),
        wrong(
            "all-stops",
            "removes every full stop, also those inside a number",
            objective="O14.5",
            replace=('.removesuffix(".").rstrip()', '.replace(".", "")'),
            loses=[MATCH],
        ),
        wrong(
            "sorted-words",
            "compares the words as a set: the order does not count",
            objective="O14.5",
            replace=(
                'found == normal(entry["output"])',
                'set(found.split()) == set(normal(entry["output"]).split())',
            ),
            loses=[MATCH],
        ),
        wrong(
            "mean-of-families",
            "the mean of the families' accuracies",
            objective="O14.5",
            replace=(
                "hits / len(entries)",
                "sum(a / b for a, b in families.values()) / len(families)",
            ),
            loses=[DENOMINATOR],
        ),
        wrong(
            "none-fails",
            "falls over a missing answer",
            objective="O14.5",
            replace=('"" if answer is None else normal(answer)', "normal(answer)"),
            loses=[DENOMINATOR],
        ),
        wrong(
            "only-hits",
            "a family without a right answer is missing in the table",
            objective="O14.5",
            replace=(
                '        families[entry["family"]] = (right + hit, total + 1)\n',
                '        families[entry["family"]] = (right + hit, total + 1)\n'
                "    families = {name: both for name, both in families.items() if both[0]}\n",
            ),
            loses=[DENOMINATOR],
        ),
        wrong(
            "library-twin",
            "imports the answer: blocked while this stage is graded",
            objective="O14.5",
            source=(
                "from xor2gpt.evaluate import score_answers\n\n\n"
                "def score(entries, answers):\n"
                "    rows = score_answers(entries, answers).rows()\n"
                "    return {\n"
                '        "accuracy": rows[-1]["accuracy"],\n'
                '        "unread": rows[-1]["unparsable"],\n'
                '        "families": {r["family"]: (r["right"], r["n"]) for r in rows[:-1]},\n'
                "    }\n"
            ),
            loses=[MATCH, DENOMINATOR],
        ),
        right(
            "by-family",
            "groups first, counts afterwards; a pattern for white space",
            source=(
                "def score(entries, answers):\n"
                "    import re\n\n"
                "    def tidy(text):\n"
                '        text = re.sub(r"\\s+", " ", text or "").strip()\n'
                '        return text[:-1].rstrip() if text.endswith(".") else text\n\n'
                "    said = [tidy(answer) for answer in answers]\n"
                '    want = [tidy(entry["output"]) for entry in entries]\n'
                "    right = [a == b and a != '' for a, b in zip(said, want)]\n"
                "    table = {}\n"
                "    for entry, one in zip(entries, right):\n"
                '        table.setdefault(entry["family"], []).append(one)\n'
                "    return {\n"
                '        "families": {k: [sum(v), len(v)] for k, v in table.items()},\n'
                '        "unread": said.count(""),\n'
                '        "accuracy": sum(right) / len(right),\n'
                "    }\n"
            ),
        ),
        right(
            "counters",
            "two counters, and numpy's mean",
            source=(
                "def score(entries, answers):\n"
                "    from collections import Counter\n\n"
                "    hits, all_, unread, marks = Counter(), Counter(), 0, []\n"
                "    for entry, answer in zip(entries, answers):\n"
                '        two = [entry["output"], answer if answer is not None else ""]\n'
                '        want, got = (" ".join(s.split()).removesuffix(".").strip() for s in two)\n'
                "        marks.append(bool(got) * (got == want))\n"
                '        hits[entry["family"]] += marks[-1]\n'
                '        all_[entry["family"]] += 1\n'
                "        unread += got == str()\n"
                "    return dict(\n"
                "        accuracy=np.mean(marks),\n"
                "        unread=unread,\n"
                "        families={name: (hits[name], all_[name]) for name in all_},\n"
                "    )\n"
            ),
        ),
    ],
}
NBGRADER = [
    "reference",
    "stub",
    "collate/ignores-every-end",
    "score/by-family",
]  # these four also run through nbgrader
