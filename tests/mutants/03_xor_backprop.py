"""Wrong and odd-but-right answers for stage 3. Each wrong one is a mistake that people make."""

from autograder.authoring.mutants import right, wrong

SIGMOID = ["sigmoid-check-1"]
SLOPE = ["sigmoid-check-2"]
BOTH_BUGS = ["bug-check-1", "bug-check-2"]
BACKWARD = ["backward-check-1", "backward-check-2"]
VALUE = ["value-check-1", "value-check-2", "value-check-3"]

MUTANTS = {
    "sigmoid": [
        wrong(
            "no-minus",
            "e^z instead of e^-z: the curve falls",
            objective="O3.2",
            replace=("np.exp(-z)", "np.exp(z)"),
            loses=SIGMOID,
        ),
        wrong(
            "one-number-only",
            "math.exp takes one number, not an array",
            objective="O3.2",
            replace=("1.0 / (1.0 + np.exp(-z))", "1.0 / (1.0 + __import__('math').exp(-z))"),
            loses=SIGMOID,
        ),
        wrong(
            "tanh-instead",
            "the other squashing function, from -1 to 1",
            objective="O3.2",
            replace=("1.0 / (1.0 + np.exp(-z))", "np.tanh(z)"),
            loses=SIGMOID,
        ),
        wrong(
            "slope-of-sigmoid",
            "applies the sigmoid to the activation once more",
            objective="O3.2",
            replace=("return a * (1.0 - a)", "s = 1 / (1 + np.exp(-a))\n    return s * (1.0 - s)"),
            loses=SLOPE,
        ),
        wrong(
            "one-minus-a",
            "forgets the first factor",
            objective="O3.2",
            replace=("return a * (1.0 - a)", "return 1.0 - a"),
            loses=SLOPE,
        ),
        wrong(
            "plus",
            "a (1 + a)",
            objective="O3.2",
            replace=("a * (1.0 - a)", "a * (1.0 + a)"),
            loses=SLOPE,
        ),
        right(
            "tanh-identity",
            "sigmoid(z) = (1 + tanh(z/2)) / 2, and the slope as a - a²",
            source=(
                "def sigmoid(z):\n    return (1 + np.tanh(z / 2)) / 2\n\n\n"
                "def sigmoid_slope(a):\n    return a - np.square(a)\n"
            ),
        ),
        right(
            "two-branches",
            "the overflow-free form with np.where",
            replace=(
                "return 1.0 / (1.0 + np.exp(-z))",
                "e = np.exp(-np.abs(z))\n    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))",
            ),
        ),
    ],
    "forward": [
        wrong(
            "no-hidden-bias",
            "forgets b1",
            objective="O3.3",
            replace=("X @ W1 + b1", "X @ W1"),
            loses=["forward-check-1"],
        ),
        wrong(
            "linear-output",
            "forgets the sigmoid of the output",
            objective="O3.3",
            replace=("expit(hidden @ W2 + b2)", "hidden @ W2 + b2"),
            loses=["forward-check-1"],
        ),
        wrong(
            "hidden-not-squashed",
            "the output layer reads the weighted sums",
            objective="O3.3",
            replace=("hidden = expit(X @ W1 + b1)", "hidden = X @ W1 + b1"),
            loses=["forward-check-1"],
        ),
        wrong(
            "output-only",
            "returns one array instead of two",
            objective="O3.3",
            replace=("return hidden, output", "return output"),
            loses=["forward-check-1"],
        ),
        wrong(
            "transposed",
            "multiplies from the other side, (W1.T X.T) without turning back",
            objective="O3.3",
            replace=("expit(X @ W1 + b1)", "expit(W1.T @ X.T + b1[:, None])"),
            loses=["forward-check-1"],
        ),
        right(
            "loop",
            "one sample at a time",
            source=(
                "def forward(X, W1, b1, W2, b2):\n"
                "    A1 = np.zeros((len(X), W1.shape[1]))\n"
                "    A2 = np.zeros((len(X), 1))\n"
                "    for n, x in enumerate(X):\n"
                "        A1[n] = expit(W1.T @ x + b1)\n"
                "        A2[n] = expit(W2.T @ A1[n] + b2)\n"
                "    return A1, A2\n"
            ),
        ),
    ],
    "output-delta": [
        wrong(
            "no-slope",
            "A2 - Y is the delta of the cross-entropy, not of this loss",
            objective="O3.4",
            replace=("(A2 - Y) * A2 * (1.0 - A2)", "A2 - Y"),
            loses=["output-delta-check-1"],
        ),
        wrong(
            "sign",
            "Y - A2: uphill",
            objective="O3.4",
            replace=("return (A2 - Y)", "return (Y - A2)"),
            loses=["output-delta-check-1"],
        ),
        wrong(
            "mean",
            "divides by N although the loss is a sum",
            objective="O3.4",
            replace=("* (1.0 - A2)", "* (1.0 - A2) / len(A2)"),
            loses=["output-delta-check-1"],
        ),
        wrong(
            "factor-two",
            "forgets that the half cancels the two",
            objective="O3.4",
            replace=("return (A2 - Y)", "return 2 * (A2 - Y)"),
            loses=["output-delta-check-1"],
        ),
        right(
            "expanded",
            "multiplied out",
            replace=("(A2 - Y) * A2 * (1.0 - A2)", "A2**2 - A2**3 - Y * A2 + Y * A2**2"),
        ),
    ],
    "weight-gradients": [
        wrong(
            "transposed-weights",
            "delta.T @ inputs: right numbers, wrong shape",
            objective="O3.4",
            replace=("inputs.T @ delta,", "delta.T @ inputs,"),
            loses=["weight-gradients-check-1"],
        ),
        wrong(
            "mean-weights",
            "averages over the batch although the loss is a sum",
            objective="O3.4",
            replace=("inputs.T @ delta,", "inputs.T @ delta / len(inputs),"),
            loses=["weight-gradients-check-1"],
        ),
        wrong(
            "bias-not-summed",
            "returns delta itself for the bias",
            objective="O3.4",
            replace=("delta.sum(axis=0)", "delta"),
            loses=["weight-gradients-check-2"],
        ),
        wrong(
            "bias-mean",
            "averages the bias gradient",
            objective="O3.4",
            replace=("delta.sum(axis=0)", "delta.mean(axis=0)"),
            loses=["weight-gradients-check-2"],
        ),
        wrong(
            "bias-wrong-axis",
            "sums over the neurons",
            objective="O3.4",
            replace=("delta.sum(axis=0)", "delta.sum(axis=1)"),
            loses=["weight-gradients-check-2"],
        ),
        right(
            "sum-of-outer-products",
            "one sample at a time",
            replace=(
                "return inputs.T @ delta, delta.sum(axis=0)",
                "dW = sum(np.outer(x, d) for x, d in zip(inputs, delta))\n"
                "    return dW, np.ones(len(delta)) @ delta",
            ),
        ),
    ],
    "hidden-delta": [
        wrong(
            "no-slope",
            "forgets the hidden sigmoid",
            objective="O3.4",
            replace=("(delta2 @ W2.T) * A1 * (1.0 - A1)", "delta2 @ W2.T"),
            loses=["hidden-delta-check-1"],
        ),
        wrong(
            "slope-of-activated",
            "treats A1 as a weighted sum",
            objective="O3.4",
            replace=("* A1 * (1.0 - A1)", "* expit(A1) * (1.0 - expit(A1))"),
            loses=["hidden-delta-check-1"],
        ),
        wrong(
            "no-weights",
            "the delta does not pass through W2",
            objective="O3.4",
            replace=("(delta2 @ W2.T)", "delta2"),
            loses=["hidden-delta-check-1"],
        ),
        wrong(
            "not-transposed",
            "W2 as it stands: the shapes do not fit",
            objective="O3.4",
            replace=("delta2 @ W2.T", "delta2 @ W2"),
            loses=["hidden-delta-check-1"],
        ),
        right(
            "broadcast",
            "the product with one output column as plain broadcasting",
            replace=("(delta2 @ W2.T)", "(delta2 * W2[:, 0])"),
        ),
    ],
    "update": [
        wrong(
            "uphill",
            "adds the gradient",
            objective="O3.5",
            replace=("parameters[name] - learning_rate", "parameters[name] + learning_rate"),
            loses=["update-check-1"],
        ),
        wrong(
            "no-rate",
            "forgets the learning rate",
            objective="O3.5",
            replace=("learning_rate * gradients[name]", "gradients[name]"),
            loses=["update-check-1"],
        ),
        wrong(
            "weights-only",
            "leaves the biases where they are",
            objective="O3.5",
            replace=(
                "learning_rate * gradients[name] for",
                "learning_rate * gradients[name] * (gradients[name].ndim > 1) for",
            ),
            loses=["update-check-1"],
        ),
        wrong(
            "returns-none",
            "changes the arrays and returns nothing",
            objective="O3.5",
            source=(
                "def update(parameters, gradients, learning_rate):\n"
                "    for name in parameters:\n"
                "        parameters[name] -= learning_rate * gradients[name]\n"
            ),
            loses=["update-check-1"],
        ),
        right(
            "loop",
            "copies first, then subtracts in place",
            source=(
                "def update(parameters, gradients, learning_rate):\n"
                "    new = {}\n"
                "    for name, value in parameters.items():\n"
                "        new[name] = value.copy()\n"
                "        new[name] -= gradients[name] * learning_rate\n"
                "    return new\n"
            ),
        ),
    ],
    "gradient-check": [
        wrong(
            "one-sided",
            "(f(w + e) - f(w)) / e",
            objective="O3.6",
            replace=("(f(up) - f(down)) / (2 * epsilon)", "(f(up) - f(w)) / epsilon"),
            loses=["gradient-check-check-1", "gradient-check-check-2"],
        ),
        wrong(
            "no-two",
            "divides by e: twice the slope",
            objective="O3.6",
            replace=("/ (2 * epsilon)", "/ epsilon"),
            loses=["gradient-check-check-1", "gradient-check-check-2"],
        ),
        wrong(
            "all-at-once",
            "nudges every weight: the sum of all slopes in each place",
            objective="O3.6",
            replace=(
                "up[place] += epsilon\n        down[place] -= epsilon",
                "up += epsilon\n        down -= epsilon",
            ),
            loses=["gradient-check-check-1", "gradient-check-check-2"],
        ),
        wrong(
            "not-undone",
            "leaves each weight nudged down for the next one",
            objective="O3.6",
            source=(
                "def numerical_gradient(f, w, epsilon=1e-5):\n"
                "    w = w.copy()\n"
                "    gradient = np.zeros_like(w)\n"
                "    for place in np.ndindex(w.shape):\n"
                "        w[place] += epsilon\n"
                "        above = f(w)\n"
                "        w[place] -= 2 * epsilon\n"
                "        gradient[place] = (above - f(w)) / (2 * epsilon)\n"
                "    return gradient\n"
            ),
            loses=["gradient-check-check-1", "gradient-check-check-2"],
        ),
        right(
            "flat",
            "nudges and undoes on a flat copy",
            source=(
                "def numerical_gradient(f, w, epsilon=1e-5):\n"
                "    flat, slopes = w.copy().ravel(), []\n"
                "    for i in range(flat.size):\n"
                "        old = flat[i]\n"
                "        flat[i] = old + epsilon\n"
                "        above = f(flat.reshape(w.shape))\n"
                "        flat[i] = old - epsilon\n"
                "        below = f(flat.reshape(w.shape))\n"
                "        flat[i] = old\n"
                "        slopes.append((above - below) / 2 / epsilon)\n"
                "    return np.array(slopes).reshape(w.shape)\n"
            ),
        ),
        right(
            "fourth-order",
            "a five-point formula: even more accurate",
            source=(
                "def numerical_gradient(f, w, epsilon=1e-3):\n"
                "    result = np.empty_like(w)\n"
                "    for place in np.ndindex(w.shape):\n"
                "        def at(k):\n"
                "            moved = w.copy()\n"
                "            moved[place] += k * epsilon\n"
                "            return f(moved)\n"
                "        near, far = at(1) - at(-1), at(2) - at(-2)\n"
                "        result[place] = (8 * near - far) / (12 * epsilon)\n"
                "    return result\n"
            ),
        ),
    ],
    "bug": [
        wrong(
            "only-the-slope",
            "repairs delta2, still uses the new W2",
            objective="O3.6",
            source=(
                "def training_step(X, Y, W1, b1, W2, b2, learning_rate):\n"
                "    A1 = expit(X @ W1 + b1)\n"
                "    A2 = expit(A1 @ W2 + b2)\n"
                "    delta2 = (A2 - Y) * A2 * (1.0 - A2)\n"
                "    W2 = W2 - learning_rate * A1.T @ delta2\n"
                "    b2 = b2 - learning_rate * delta2.sum(axis=0)\n"
                "    delta1 = (delta2 @ W2.T) * A1 * (1.0 - A1)\n"
                "    W1 = W1 - learning_rate * X.T @ delta1\n"
                "    b1 = b1 - learning_rate * delta1.sum(axis=0)\n"
                "    return W1, b1, W2, b2\n"
            ),
            loses=["bug-check-2"],
        ),
        wrong(
            "only-the-order",
            "repairs the order, not the missing slope",
            objective="O3.6",
            replace=("(A2 - Y) * A2 * (1.0 - A2)", "A2 - Y"),
            loses=BOTH_BUGS,
        ),
        wrong(
            "slope-of-activated",
            "adds a slope, but of expit(A2)",
            objective="O3.6",
            replace=("(A2 - Y) * A2 * (1.0 - A2)", "(A2 - Y) * expit(A2) * (1.0 - expit(A2))"),
            loses=BOTH_BUGS,
        ),
        wrong(
            "mean",
            "'repairs' the size by dividing by the number of samples",
            objective="O3.6",
            replace=("(1.0 - A2)\n", "(1.0 - A2) / len(X)\n"),
            loses=BOTH_BUGS,
        ),
        right(
            "all-gradients-first",
            "computes the four gradients, then the four updates",
            source=(
                "def training_step(X, Y, W1, b1, W2, b2, learning_rate):\n"
                "    A1 = expit(X @ W1 + b1)\n"
                "    A2 = expit(A1 @ W2 + b2)\n"
                "    delta2 = (A2 - Y) * (A2 - A2**2)\n"
                "    delta1 = np.outer(delta2, W2) * (A1 - A1**2)\n"
                "    grads = X.T @ delta1, delta1.sum(0), A1.T @ delta2, delta2.sum(0)\n"
                "    return tuple(p - learning_rate * g for p, g in zip((W1, b1, W2, b2), grads))\n"
            ),
        ),
    ],
    "value": [
        wrong(
            "slopes-swapped",
            "each factor gets itself as its slope",
            objective="O3.7",
            replace=(
                "[(self, other.data), (other, self.data)]",
                "[(self, self.data), (other, other.data)]",
            ),
            loses=["value-check-2"],
        ),
        wrong(
            "sum-slopes",
            "gives a sum the slopes of a product",
            objective="O3.7",
            replace=("[(self, 1.0), (other, 1.0)]", "[(self, other.data), (other, self.data)]"),
            loses=["value-check-1"],
        ),
        wrong(
            "sigmoid-slope-of-data",
            "data (1 - data) instead of s (1 - s)",
            objective="O3.7",
            replace=("s * (1.0 - s)", "self.data * (1.0 - self.data)"),
            loses=["value-check-3"],
        ),
        wrong(
            "one-parent",
            "a product forgets its second factor",
            objective="O3.7",
            replace=("[(self, other.data), (other, self.data)]", "[(self, other.data)]"),
            loses=["value-check-2"],
        ),
        wrong(
            "library",
            "imports the answer key, which is locked while grading",
            objective="O3.7",
            source="from xor2gpt.autograd import Value\n",
            loses=VALUE,
        ),
        right(
            "tuples",
            "parents as a tuple, sigmoid by its formula",
            source=(
                "class Value(Node):\n"
                "    def __add__(self, other):\n"
                "        other = self.wrap(other)\n"
                "        return Value(self.data + other.data, ((self, 1), (other, 1)))\n\n"
                "    def __mul__(self, other):\n"
                "        other = self.wrap(other)\n"
                "        parents = ((other, self.data), (self, other.data))\n"
                "        return Value(self.data * other.data, parents)\n\n"
                "    def sigmoid(self):\n"
                "        s = 1 / (1 + np.exp(-self.data))\n"
                "        return Value(s, ((self, s - s * s),))\n"
            ),
        ),
    ],
    "backward": [
        wrong(
            "overwrites",
            "= instead of +=",
            objective="O3.7",
            replace=("parent.grad += slope", "parent.grad = slope"),
            loses=BACKWARD,
        ),
        wrong(
            "no-start",
            "forgets to set the output's grad to 1",
            objective="O3.7",
            replace=("output.grad = 1.0", "pass"),
            loses=BACKWARD,
        ),
        wrong(
            "naive-recursion",
            "passes the whole grad on at every visit: shared nodes pay twice",
            objective="O3.7",
            source=(
                "def backward(output):\n"
                "    output.grad = 1.0\n\n"
                "    def push(node):\n"
                "        for parent, slope in node.parents:\n"
                "            parent.grad += slope * node.grad\n"
                "            push(parent)\n\n"
                "    push(output)\n"
            ),
            loses=["backward-check-2"],
        ),
        wrong(
            "breadth-first",
            "handles nodes in the order in which they are met",
            objective="O3.7",
            source=(
                "def backward(output):\n"
                "    output.grad = 1.0\n"
                "    queue, seen = [output], {output}\n"
                "    for node in queue:\n"
                "        for parent, slope in node.parents:\n"
                "            parent.grad += slope * node.grad\n"
                "            if parent not in seen:\n"
                "                seen.add(parent)\n"
                "                queue.append(parent)\n"
            ),
            loses=["backward-check-2"],
        ),
        wrong(
            "no-slope",
            "adds up the grads and forgets the local slopes",
            objective="O3.7",
            replace=("slope * node.grad", "node.grad"),
            loses=BACKWARD,
        ),
        wrong(
            "forward-order",
            "walks the list from the front",
            objective="O3.7",
            replace=("for node in reversed(order)", "for node in order"),
            loses=BACKWARD,
        ),
        right(
            "paths",
            "adds slope products over every path: slow, but right",
            source=(
                "def backward(output):\n"
                "    def walk(node, amount):\n"
                "        node.grad += amount\n"
                "        for parent, slope in node.parents:\n"
                "            walk(parent, amount * slope)\n\n"
                "    walk(output, 1.0)\n"
            ),
        ),
        right(
            "counting-users",
            "Kahn's algorithm: a node is ready when all its users have paid",
            source=(
                "def backward(output):\n"
                "    users, seen, todo = {}, {output}, [output]\n"
                "    while todo:\n"
                "        for parent, _ in todo.pop().parents:\n"
                "            users[parent] = users.get(parent, 0) + 1\n"
                "            if parent not in seen:\n"
                "                seen.add(parent)\n"
                "                todo.append(parent)\n"
                "    output.grad, ready = 1.0, [output]\n"
                "    while ready:\n"
                "        node = ready.pop()\n"
                "        for parent, slope in node.parents:\n"
                "            parent.grad += node.grad * slope\n"
                "            users[parent] -= 1\n"
                "            if users[parent] == 0:\n"
                "                ready.append(parent)\n"
            ),
        ),
    ],
}

NBGRADER = ["reference", "stub", "bug/only-the-slope", "backward/counting-users"]
