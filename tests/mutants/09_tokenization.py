"""Wrong and odd-but-right answers for stage 9. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

VOCABULARY, WORD_IDS = "words-check-1", "words-check-2"
COUNT, MERGE = "pairs-check-1", "pairs-check-2"
STEPS, TIES, STOP = (f"train-check-{k}" for k in (1, 2, 3))
RANK, EDGE, DECODE = (f"codec-check-{k}" for k in (1, 2, 3))
FOUND, TRICKY = "special-check-1", "special-check-2"
INPUTS, TARGETS = "windows-check-1", "windows-check-2"
FORWARD, BACKWARD = "embed-check-1", "embed-check-2"
TABLE, NLL, PERPLEXITY = (f"bigram-check-{k}" for k in (1, 2, 3))
DRAW = "write-check-1"
LOSS, GRADIENT = "table-check-1", "table-check-2"

MUTANTS = {
    "words": [
        wrong(
            "lower-case",
            "makes everything small",
            objective="O9.1",
            replace=("sorted(set(split_words(text)))", "sorted(set(split_words(text.lower())))"),
            loses=[VOCABULARY],
        ),
        wrong(
            "not-sorted",
            "numbers words in the order of their appearance",
            objective="O9.1",
            replace=("sorted(set(split_words(text)))", "dict.fromkeys(split_words(text))"),
            loses=[VOCABULARY],
        ),
        wrong(
            "with-duplicates",
            "numbers every occurrence",
            objective="O9.1",
            replace=("sorted(set(split_words(text)))", "sorted(split_words(text))"),
            loses=[VOCABULARY],
        ),
        wrong(
            "from-one",
            "counts from 1",
            objective="O9.1",
            replace=("enumerate(entries)", "enumerate(entries, start=1)"),
            loses=[VOCABULARY],
        ),
        wrong(
            "specials-first",
            "puts the special tokens in front",
            objective="O9.1",
            replace=(
                '[*sorted(set(split_words(text))), "<|unk|>", "<|endoftext|>"]',
                '["<|unk|>", "<|endoftext|>", *sorted(set(split_words(text)))]',
            ),
            loses=[VOCABULARY],
        ),
        wrong(
            "unknown-dropped",
            "leaves unknown words out",
            objective="O9.1",
            replace=(
                "[vocabulary.get(word, unknown) for word in split_words(text)]",
                "[vocabulary[word] for word in split_words(text) if word in vocabulary]",
            ),
            loses=[WORD_IDS],
        ),
        wrong(
            "key-error",
            "stops at an unknown word",
            objective="O9.1",
            replace=("vocabulary.get(word, unknown)", "vocabulary[word]"),
            loses=[WORD_IDS],
        ),
        wrong(
            "unknown-is-last",
            "takes the last id for unknown words",
            objective="O9.1",
            replace=('vocabulary["<|unk|>"]', "len(vocabulary) - 1"),
            loses=[WORD_IDS],
        ),
        wrong(
            "split-at-spaces",
            "cuts at white space only: signs stick to the words",
            objective="O9.1",
            replace=("for word in split_words(text)]", "for word in text.split()]"),
            loses=[WORD_IDS],
        ),
        right(
            "loops",
            "explicit loops, and an entry for unknown words made on the way",
            source=(
                "def build_vocabulary(text):\n"
                "    vocabulary = {}\n"
                "    for word in sorted(split_words(text)):\n"
                "        if word not in vocabulary:\n"
                "            vocabulary[word] = len(vocabulary)\n"
                "    for special in ('<|unk|>', '<|endoftext|>'):\n"
                "        vocabulary[special] = len(vocabulary)\n"
                "    return vocabulary\n\n"
                "def word_ids(text, vocabulary):\n"
                "    words = split_words(text)\n"
                "    known = [word if word in vocabulary else '<|unk|>' for word in words]\n"
                "    return list(map(vocabulary.__getitem__, known))\n"
            ),
        ),
    ],
    "pairs": [
        wrong(
            "no-overlap",
            "jumps over both places after a pair of equals, as a merge does",
            objective="O9.2",
            replace=(
                "        for left, right in zip(word[:-1], word[1:]):\n",
                "        skip = False\n"
                "        for left, right in zip(word[:-1], word[1:]):\n"
                "            if skip:\n"
                "                skip = False\n"
                "                continue\n"
                "            skip = left == right\n",
            ),
            loses=[COUNT],
        ),
        wrong(
            "once-a-word",
            "forgets how often a word occurs",
            objective="O9.2",
            replace=("(left, right), 0) + count", "(left, right), 0) + 1"),
            loses=[COUNT],
        ),
        wrong(
            "last-word-wins",
            "overwrites the count",
            objective="O9.2",
            replace=("pairs.get((left, right), 0) + count", "count"),
            loses=[COUNT],
        ),
        wrong(
            "unordered",
            "takes (a, b) and (b, a) for the same pair",
            objective="O9.2",
            replace=(
                "pairs[left, right] = pairs.get((left, right), 0) + count",
                "key = (min(left, right), max(left, right))\n"
                "            pairs[key] = pairs.get(key, 0) + count",
            ),
            loses=[COUNT],
        ),
        wrong(
            "overlapping-merge",
            "goes on by one after a match: aaaa becomes three tokens",
            objective="O9.2",
            replace=("            place += 2\n", "            place += 1\n"),
            loses=[MERGE],
        ),
        wrong(
            "from-the-right",
            "replaces from right to left: aaa becomes a aa",
            objective="O9.2",
            source=(
                "def count_pairs(words):\n"
                "    pairs = {}\n"
                "    for word, count in words.items():\n"
                "        for pair in zip(word[:-1], word[1:]):\n"
                "            pairs[pair] = pairs.get(pair, 0) + count\n"
                "    return pairs\n\n"
                "def merge_pair(ids, pair, new_id):\n"
                "    ids, place = list(ids), len(ids) - 2\n"
                "    while place >= 0:\n"
                "        if tuple(ids[place : place + 2]) == tuple(pair):\n"
                "            ids[place : place + 2] = [new_id]\n"
                "            place -= 1\n"
                "        place -= 1\n"
                "    return ids\n"
            ),
            loses=[MERGE],
        ),
        wrong(
            "first-only",
            "stops after the first match",
            objective="O9.2",
            replace=(
                "            merged.append(new_id)\n            place += 2\n",
                "            return merged + [new_id] + list(ids[place + 2 :])\n",
            ),
            loses=[MERGE],
        ),
        wrong(
            "loses-the-last",
            "the loop ends one place early",
            objective="O9.2",
            replace=("while place < len(ids):", "while place < len(ids) - 1:"),
            loses=[MERGE],
        ),
        right(
            "counter-and-text",
            "a Counter, and merging by a string of characters",
            source=(
                "from collections import Counter\n\n"
                "def count_pairs(words):\n"
                "    pairs = Counter()\n"
                "    for word, count in words.items():\n"
                "        for place in range(len(word) - 1):\n"
                "            pairs[word[place : place + 2]] += count\n"
                "    return dict(pairs)\n\n"
                "def merge_pair(ids, pair, new_id):\n"
                "    text = ''.join(map(chr, ids))\n"
                "    return [ord(c) for c in text.replace(''.join(map(chr, pair)), chr(new_id))]\n"
            ),
        ),
    ],
    "train": [
        wrong(
            "first-of-equals",
            "of equal counts takes the pair that was met first",
            objective="O9.2",
            replace=(
                "min(pairs, key=lambda pair: (-pairs[pair], pair))",
                "max(pairs, key=pairs.get)",
            ),
            loses=[TIES],
        ),
        wrong(
            "largest-of-equals",
            "of equal counts takes the largest pair",
            objective="O9.2",
            replace=(
                "min(pairs, key=lambda pair: (-pairs[pair], pair))",
                "max(pairs, key=lambda pair: (pairs[pair], pair))",
            ),
            loses=[TIES],
        ),
        wrong(
            "unweighted",
            "counts each piece once",
            objective="O9.2",
            replace=("pairs.get(pair, 0) + count", "pairs.get(pair, 0) + 1"),
            loses=[STEPS],
        ),
        wrong(
            "never-recounts",
            "counts once and takes the best pairs of that count",
            objective="O9.2",
            source=(
                "def train_bpe(counts, number):\n"
                "    pairs = {}\n"
                "    for piece, count in counts.items():\n"
                "        for pair in zip(piece[:-1], piece[1:]):\n"
                "            pairs[pair] = pairs.get(pair, 0) + count\n"
                "    best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:number]\n"
                "    return {pair: 256 + k for k, pair in enumerate(best)}\n"
            ),
            loses=[STEPS, STOP],
        ),
        wrong(
            "ids-from-257",
            "starts with the id 257",
            objective="O9.2",
            replace=("merges[best] = 256 + len(merges)", "merges[best] = 257 + len(merges)"),
            loses=[STEPS, STOP],
        ),
        wrong(
            "no-stop",
            "asks for the best of no pairs",
            objective="O9.2",
            replace=("        if not pairs:\n            break\n", ""),
            loses=[STOP],
        ),
        wrong(
            "one-too-many",
            "makes a merge more than asked for",
            objective="O9.2",
            replace=("while len(merges) < number:", "while len(merges) <= number:"),
            loses=[STEPS],
        ),
        wrong(
            "overlapping-merge",
            "replaces overlapping pairs: aaa becomes two tokens",
            objective="O9.2",
            replace=(
                "                    ids[place : place + 2] = [merges[best]]\n",
                "                    ids[place : place + 1] = [merges[best]]\n",
            ),
            loses=[STEPS, STOP],
        ),
        right(
            "all-ids-in-one-row",
            "keeps all pieces in tuples, counts with Counter, sorts all pairs",
            source=(
                "from collections import Counter\n\n"
                "def train_bpe(counts, number):\n"
                "    words = {tuple(piece): count for piece, count in counts.items()}\n"
                "    merges = {}\n"
                "    for new in range(256, 256 + number):\n"
                "        pairs = Counter()\n"
                "        for word, count in words.items():\n"
                "            for pair in zip(word, word[1:]):\n"
                "                pairs[pair] += count\n"
                "        if not pairs:\n"
                "            return merges\n"
                "        best = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[0][0]\n"
                "        merges[best] = new\n"
                "        after = Counter()\n"
                "        for word, count in words.items():\n"
                "            out = []\n"
                "            k = 0\n"
                "            while k < len(word):\n"
                "                hit = word[k : k + 2] == best\n"
                "                out.append(new if hit else word[k])\n"
                "                k += 2 if hit else 1\n"
                "            after[tuple(out)] += count\n"
                "        words = after\n"
                "    return merges\n"
            ),
        ),
    ],
    "codec": [
        wrong(
            "by-position",
            "merges what stands first, not what has the lowest rank",
            objective="O9.3",
            replace=("new, place = min(found)", "new, place = found[0]"),
            loses=[RANK],
        ),
        wrong(
            "rightmost",
            "of equal ranks takes the rightmost",
            objective="O9.3",
            replace=("min(found)", "min(found, key=lambda item: (item[0], -item[1]))"),
            loses=[EDGE],
        ),
        wrong(
            "highest-rank",
            "merges the pair that was learned last",
            objective="O9.3",
            replace=("min(found)", "max(found, key=lambda item: (item[0], -item[1]))"),
            loses=[RANK],
        ),
        wrong(
            "one-pass",
            "stops after one merge",
            objective="O9.3",
            replace=(
                "        ids[place : place + 2] = [new]\n",
                "        ids[place : place + 2] = [new]\n        return ids\n",
            ),
            loses=[RANK, EDGE],
        ),
        wrong(
            "decodes-each",
            "decodes every token on its own",
            objective="O9.3",
            replace=(
                'b"".join(table[i] for i in ids).decode("utf-8", errors="replace")',
                '"".join(table[i].decode("utf-8", errors="replace") for i in ids)',
            ),
            loses=[DECODE],
        ),
        wrong(
            "strict",
            "stops at half a character",
            objective="O9.3",
            replace=(', errors="replace"', ""),
            loses=[DECODE],
        ),
        wrong(
            "ignores",
            "drops half a character silently",
            objective="O9.3",
            replace=('errors="replace"', 'errors="ignore"'),
            loses=[DECODE],
        ),
        wrong(
            "latin-1",
            "takes every byte for a character",
            objective="O9.3",
            replace=('.decode("utf-8", errors="replace")', '.decode("latin-1")'),
            loses=[DECODE],
        ),
        wrong(
            "from-the-library",
            "imports the answer",
            objective="O9.3",
            source=(
                "from xor2gpt.tokenizer.encoding import merge\n\n"
                "def bpe_encode(data, merges):\n"
                "    return list(data)\n\n"
                "def bpe_decode(ids, merges):\n"
                "    return ''\n"
            ),
            loses=[RANK, EDGE, DECODE],
        ),
        right(
            "table-by-table",
            "goes through the merges in order and replaces each everywhere",
            source=(
                "def bpe_encode(data, merges):\n"
                "    ids = list(data)\n"
                "    for pair, new in sorted(merges.items(), key=lambda item: item[1]):\n"
                "        k = 0\n"
                "        while k + 1 < len(ids):\n"
                "            if (ids[k], ids[k + 1]) == pair:\n"
                "                ids[k : k + 2] = [new]\n"
                "            k += 1\n"
                "    return ids\n\n"
                "def bpe_decode(ids, merges):\n"
                "    parts = {new: pair for pair, new in merges.items()}\n"
                "    todo, data = list(ids)[::-1], bytearray()\n"
                "    while todo:\n"
                "        i = todo.pop()\n"
                "        if i < 256:\n"
                "            data.append(i)\n"
                "        else:\n"
                "            todo.extend(parts[i][::-1])\n"
                "    return data.decode(errors='replace')\n"
            ),
        ),
    ],
    "special": [
        wrong(
            "not-escaped",
            "puts the text of the tokens into the pattern as it is",
            objective="O9.3",
            replace=("re.escape(token) for token", "token for token"),
            loses=[FOUND, TRICKY],
        ),
        wrong(
            "shortest-first",
            "tries a shorter token before a longer one that begins with it",
            objective="O9.3",
            replace=("key=len, reverse=True", "key=len"),
            loses=[TRICKY],
        ),
        wrong(
            "as-plain-text",
            "encodes everything as plain text",
            objective="O9.3",
            replace=("if not special:", "if True:"),
            loses=[FOUND, TRICKY],
        ),
        wrong(
            "dropped",
            "throws the special tokens away",
            objective="O9.3",
            replace=("ids.append(special[part])", "pass"),
            loses=[FOUND, TRICKY],
        ),
        wrong(
            "no-brackets",
            "splits without brackets: what was matched is lost",
            objective="O9.3",
            replace=(
                '"(" + "|".join(re.escape(token) for token in longest_first) + ")"',
                '"|".join(re.escape(token) for token in longest_first)',
            ),
            loses=[FOUND, TRICKY],
        ),
        wrong(
            "first-only",
            "looks for one special token and stops",
            objective="O9.3",
            replace=("re.split(pattern, text)", "re.split(pattern, text, maxsplit=1)"),
            loses=[FOUND, TRICKY],
        ),
        wrong(
            "nothing-allowed",
            "builds a pattern of nothing, which matches everywhere",
            objective="O9.3",
            replace=("    if not special:\n        return list(encode(text))\n", ""),
            loses=[FOUND],
        ),
        right(
            "by-find",
            "no pattern: looks at every place for the longest token that starts there",
            source=(
                "def encode_with_special(text, special, encode):\n"
                "    ids, begin, k = [], 0, 0\n"
                "    while k < len(text):\n"
                "        here = [t for t in special if text.startswith(t, k)]\n"
                "        if here:\n"
                "            token = max(here, key=len)\n"
                "            if begin < k:\n"
                "                ids += encode(text[begin:k])\n"
                "            ids.append(special[token])\n"
                "            k += len(token)\n"
                "            begin = k\n"
                "        else:\n"
                "            k += 1\n"
                "    return ids + (list(encode(text[begin:])) if begin < len(text) else [])\n"
            ),
        ),
    ],
    "windows": [
        wrong(
            "one-too-many",
            "the bug as it was found: a window without a last target, hidden by roll",
            objective="O9.5",
            source=(
                "def windows(ids, length, stride):\n"
                "    starts = np.arange(0, len(ids) - length + 1, stride)\n"
                "    places = starts[:, None] + np.arange(length)\n"
                "    return ids[places], np.roll(ids, -1)[places]\n"
            ),
            loses=[INPUTS, TARGETS],
        ),
        wrong(
            "one-too-few",
            "stops one window early",
            objective="O9.5",
            replace=("len(ids) - length, stride", "len(ids) - length - 1, stride"),
            loses=[INPUTS, TARGETS],
        ),
        wrong(
            "next-chunk",
            "the target is the chunk after the window",
            objective="O9.5",
            replace=("ids[places + 1]", "np.roll(ids, -length)[places]"),
            loses=[TARGETS],
        ),
        wrong(
            "no-shift",
            "the target is the input",
            objective="O9.5",
            replace=("ids[places + 1]", "ids[places]"),
            loses=[TARGETS],
        ),
        wrong(
            "shifted-back",
            "the target is the token before",
            objective="O9.5",
            replace=("ids[places + 1]", "ids[places - 1]"),
            loses=[TARGETS],
        ),
        wrong(
            "one-target",
            "one target a window: the token after it",
            objective="O9.5",
            replace=("ids[places + 1]", "ids[places[:, -1] + 1]"),
            loses=[TARGETS],
        ),
        wrong(
            "stride-is-length",
            "windows side by side, whatever the stride",
            objective="O9.5",
            replace=("len(ids) - length, stride)", "len(ids) - length, length)"),
            loses=[INPUTS, TARGETS],
        ),
        right(
            "loop",
            "a list of slices",
            source=(
                "def windows(ids, length, stride):\n"
                "    starts = range(0, len(ids) - length, stride)\n"
                "    x = [ids[s : s + length] for s in starts]\n"
                "    y = [ids[s + 1 : s + length + 1] for s in starts]\n"
                "    shape = (len(x), length)\n"
                "    return np.array(x, int).reshape(shape), np.array(y, int).reshape(shape)\n"
            ),
        ),
        right(
            "view",
            "numpy's own windows of length + 1",
            source=(
                "def windows(ids, length, stride):\n"
                "    if len(ids) <= length:\n"
                "        empty = np.zeros((0, length), dtype=ids.dtype)\n"
                "        return empty, empty.copy()\n"
                "    both = np.lib.stride_tricks.sliding_window_view(ids, length + 1)[::stride]\n"
                "    return both[:, :-1].copy(), both[:, 1:].copy()\n"
            ),
        ),
    ],
    "embed": [
        wrong(
            "no-position",
            "forgets the position",
            objective="O9.6",
            replace=(" + position_table[: ids.shape[1]]", ""),
            loses=[FORWARD],
        ),
        wrong(
            "position-by-id",
            "looks the position up by the id",
            objective="O9.6",
            replace=("position_table[: ids.shape[1]]", "position_table[ids]"),
            loses=[FORWARD],
        ),
        wrong(
            "position-of-sample",
            "adds the row of the sample, not of the place",
            objective="O9.6",
            replace=(
                "position_table[: ids.shape[1]]",
                "position_table[: ids.shape[0], None]",
            ),
            loses=[FORWARD],
        ),
        wrong(
            "whole-table",
            "adds all positions, used or not",
            objective="O9.6",
            replace=("position_table[: ids.shape[1]]", "position_table"),
            loses=[FORWARD],
        ),
        wrong(
            "keeps-one",
            "gradient[ids] += upstream: of repeated ids only one gradient is kept",
            objective="O9.6",
            replace=("np.add.at(gradient, ids, upstream)", "gradient[ids] += upstream"),
            loses=[BACKWARD],
        ),
        wrong(
            "mean-of-uses",
            "divides by the number of uses",
            objective="O9.6",
            replace=(
                "    return gradient",
                "    uses = np.bincount(ids.ravel(), minlength=size)\n"
                "    return gradient / np.maximum(uses, 1)[:, None]",
            ),
            loses=[BACKWARD],
        ),
        wrong(
            "too-short",
            "a row for the ids that occur only",
            objective="O9.6",
            replace=("np.zeros((size, ", "np.zeros((ids.max() + 1, "),
            loses=[BACKWARD],
        ),
        right(
            "one-hot",
            "one-hot products in both directions",
            source=(
                "def embed(ids, token_table, position_table):\n"
                "    hot = np.eye(len(token_table))[ids]\n"
                "    places = np.eye(len(position_table))[np.arange(ids.shape[1])]\n"
                "    return hot @ token_table + (places @ position_table)[None]\n\n"
                "def embedding_gradient(ids, upstream, size):\n"
                "    hot = np.eye(size)[ids.ravel()]\n"
                "    return hot.T @ upstream.reshape(-1, upstream.shape[-1])\n"
            ),
        ),
        right(
            "torch",
            "torch's look-up and its own autograd",
            source=(
                "def embed(ids, token_table, position_table):\n"
                "    i = torch.from_numpy(ids)\n"
                "    tokens = nn.functional.embedding(i, torch.from_numpy(token_table))\n"
                "    return (tokens + torch.from_numpy(position_table)[: i.shape[1]]).numpy()\n\n"
                "def embedding_gradient(ids, upstream, size):\n"
                "    table = torch.zeros(size, upstream.shape[-1], dtype=torch.float64,\n"
                "                        requires_grad=True)\n"
                "    out = nn.functional.embedding(torch.from_numpy(ids), table)\n"
                "    (out * torch.from_numpy(upstream)).sum().backward()\n"
                "    return table.grad.numpy()\n"
            ),
        ),
    ],
    "bigram": [
        wrong(
            "transposed",
            "the row is the id that follows",
            objective="O9.7",
            replace=("(ids[:-1], ids[1:]), 1.0", "(ids[1:], ids[:-1]), 1.0"),
            loses=[TABLE],
        ),
        wrong(
            "columns",
            "normalises the columns",
            objective="O9.7",
            replace=("counts.sum(axis=1, keepdims=True)", "counts.sum(axis=0, keepdims=True)"),
            loses=[TABLE],
        ),
        wrong(
            "keeps-one",
            "counts[a, b] += 1 with arrays: repeated pairs count once",
            objective="O9.7",
            replace=(
                "np.add.at(counts, (ids[:-1], ids[1:]), 1.0)",
                "counts[ids[:-1], ids[1:]] += 1.0",
            ),
            loses=[TABLE],
        ),
        wrong(
            "smoothing-above-only",
            "adds to the counts but divides by the unsmoothed sum",
            objective="O9.7",
            replace=(
                "return counts / counts.sum(axis=1, keepdims=True)",
                "return counts / np.maximum(counts.sum(1, keepdims=True) - size * extra, 1.0)",
            ),
            loses=[TABLE],
        ),
        wrong(
            "sum-not-mean",
            "adds the losses up",
            objective="O9.7",
            replace=("table[ids[:-1], ids[1:]]).mean()", "table[ids[:-1], ids[1:]]).sum()"),
            loses=[NLL],
        ),
        wrong(
            "by-n",
            "divides by the number of ids, not of predictions",
            objective="O9.7",
            replace=(
                "table[ids[:-1], ids[1:]]).mean()",
                "table[ids[:-1], ids[1:]]).sum() / len(ids)",
            ),
            loses=[NLL],
        ),
        wrong(
            "bits",
            "takes the logarithm to base 2",
            objective="O9.7",
            replace=("-np.log(table", "-np.log2(table"),
            loses=[NLL],
        ),
        wrong(
            "log-of-mean",
            "the logarithm of the mean probability",
            objective="O9.7",
            replace=(
                "-np.log(table[ids[:-1], ids[1:]]).mean()",
                "-np.log(table[ids[:-1], ids[1:]].mean())",
            ),
            loses=[NLL],
        ),
        wrong(
            "mean-of-perplexities",
            "averages perplexities by tokens",
            objective="O9.7",
            replace=(
                "np.exp((losses * tokens).sum() / tokens.sum())",
                "(np.exp(losses) * tokens).sum() / tokens.sum()",
            ),
            loses=[PERPLEXITY],
        ),
        wrong(
            "unweighted",
            "every text counts alike",
            objective="O9.7",
            replace=("(losses * tokens).sum() / tokens.sum()", "losses.mean()"),
            loses=[PERPLEXITY],
        ),
        wrong(
            "base-two",
            "2 to the loss, although the loss is in nats",
            objective="O9.7",
            replace=("float(np.exp(", "float(np.exp2("),
            loses=[PERPLEXITY],
        ),
        right(
            "loops",
            "explicit loops and math",
            source=(
                "import math\n\n"
                "def bigram_table(ids, size, extra):\n"
                "    rows = [[extra] * size for _ in range(size)]\n"
                "    for a, b in zip(ids[:-1], ids[1:]):\n"
                "        rows[a][b] += 1\n"
                "    return [[c / sum(row) for c in row] for row in rows]\n\n"
                "def mean_nll(ids, table):\n"
                "    losses = [-math.log(table[a][b]) for a, b in zip(ids[:-1], ids[1:])]\n"
                "    return sum(losses) / len(losses)\n\n"
                "def perplexity(losses, tokens):\n"
                "    return math.exp(np.average(losses, weights=tokens))\n"
            ),
        ),
        right(
            "matrix",
            "counts as a product of one-hot matrices",
            source=(
                "def bigram_table(ids, size, extra):\n"
                "    hot = np.eye(size)[ids]\n"
                "    counts = hot[:-1].T @ hot[1:] + extra\n"
                "    return (counts.T / counts.sum(1)).T\n\n"
                "def mean_nll(ids, table):\n"
                "    pairs = zip(ids[:-1], ids[1:])\n"
                "    return -sum(np.log(table)[a, b] for a, b in pairs) / (len(ids) - 1)\n\n"
                "def perplexity(losses, tokens):\n"
                "    total = sum(loss * n for loss, n in zip(losses, tokens))\n"
                "    return np.e ** (total / sum(tokens))\n"
            ),
        ),
    ],
    "write": [
        wrong(
            "greedy",
            "takes the most probable id every time",
            objective="O9.7",
            replace=(
                'int(np.searchsorted(sums, number, side="right"))',
                "int(np.argmax(table[ids[-1]]))",
            ),
            loses=[DRAW],
        ),
        wrong(
            "always-first",
            "draws from the row of the first id every time",
            objective="O9.7",
            replace=("table[ids[-1]]", "table[first]"),
            loses=[DRAW],
        ),
        wrong(
            "column",
            "reads the column, not the row",
            objective="O9.7",
            replace=("table[ids[-1]]", "table[:, ids[-1]]"),
            loses=[DRAW],
        ),
        wrong(
            "no-sums",
            "compares the number with single probabilities",
            objective="O9.7",
            replace=(
                'int(np.searchsorted(sums, number, side="right"))',
                "int(np.argmax(table[ids[-1]] > number))",
            ),
            loses=[DRAW],
        ),
        wrong(
            "without-first",
            "returns the drawn ids only",
            objective="O9.7",
            replace=("    return ids", "    return ids[1:]"),
            loses=[DRAW],
        ),
        wrong(
            "own-dice",
            "throws dice of its own",
            objective="O9.7",
            replace=(
                'int(np.searchsorted(sums, number, side="right"))',
                "int(np.random.default_rng().choice(len(sums), p=table[ids[-1]]))",
            ),
            loses=[DRAW],
        ),
        right(
            "subtracting",
            "subtracts one probability after the other",
            source=(
                "def write(table, first, numbers):\n"
                "    out = [first]\n"
                "    for u in numbers:\n"
                "        row = table[out[-1]]\n"
                "        j, total = 0, row[0]\n"
                "        while total <= u and j < len(row) - 1:\n"
                "            j += 1\n"
                "            total += row[j]\n"
                "        out.append(j)\n"
                "    return out\n"
            ),
        ),
        right(
            "counting",
            "counts the cumulative sums that are not greater",
            source=(
                "def write(table, first, numbers):\n"
                "    sums = np.cumsum(table, axis=1)\n"
                "    sums[:, -1] = 2.0\n"
                "    out = [int(first)]\n"
                "    for u in numbers:\n"
                "        out.append(int((sums[out[-1]] <= u).sum()))\n"
                "    return out\n"
            ),
        ),
    ],
    "table": [
        wrong(
            "unsafe",
            "the exponential of large logits overflows",
            objective="O9.7",
            replace=("    rows = rows - rows.max(axis=1, keepdims=True)  # (N, V)\n", ""),
            loses=[LOSS],
        ),
        wrong(
            "wrong-axis",
            "softmax over the samples",
            objective="O9.7",
            replace=(
                "np.log(np.exp(rows).sum(axis=1, keepdims=True))",
                "np.log(np.exp(rows).sum(axis=0, keepdims=True))",
            ),
            loses=[LOSS, GRADIENT],
        ),
        wrong(
            "summed-loss",
            "a sum in place of the mean",
            objective="O9.7",
            replace=(
                "float(-log_p[places, targets].mean())",
                "float(-log_p[places, targets].sum())",
            ),
            loses=[LOSS],
        ),
        wrong(
            "keeps-one",
            "gradient[inputs] += …: repeated inputs count once",
            objective="O9.7",
            replace=(
                "np.add.at(gradient, inputs, delta / len(targets))",
                "gradient[inputs] += delta / len(targets)",
            ),
            loses=[GRADIENT],
        ),
        wrong(
            "not-divided",
            "the gradient of the sum",
            objective="O9.7",
            replace=("delta / len(targets))", "delta)"),
            loses=[GRADIENT],
        ),
        wrong(
            "no-target",
            "forgets to subtract the one-hot target",
            objective="O9.7",
            replace=("    delta[places, targets] -= 1.0\n", ""),
            loses=[GRADIENT],
        ),
        wrong(
            "row-of-target",
            "adds the delta to the row of the target",
            objective="O9.7",
            replace=("np.add.at(gradient, inputs,", "np.add.at(gradient, targets,"),
            loses=[GRADIENT],
        ),
        right(
            "autograd",
            "torch's cross-entropy and autograd",
            source=(
                "def table_loss(logits, inputs, targets):\n"
                "    W = torch.tensor(logits, requires_grad=True)\n"
                "    rows = W[torch.from_numpy(inputs)]\n"
                "    loss = nn.functional.cross_entropy(rows, torch.from_numpy(targets))\n"
                "    loss.backward()\n"
                "    return loss.item(), W.grad.numpy()\n"
            ),
        ),
        right(
            "by-counts",
            "counts the pairs first: gradient = (row total · softmax − counts) / N",
            source=(
                "def table_loss(logits, inputs, targets):\n"
                "    V, N = len(logits), len(inputs)\n"
                "    counts = np.zeros((V, V))\n"
                "    np.add.at(counts, (inputs, targets), 1)\n"
                "    top = logits.max(1, keepdims=True)\n"
                "    log_p = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))\n"
                "    grad = (counts.sum(1, keepdims=True) * np.exp(log_p) - counts) / N\n"
                "    return -(counts * log_p).sum() / N, grad\n"
            ),
        ),
    ],
}
NBGRADER = ["reference", "stub", "codec/by-position", "windows/view"]
