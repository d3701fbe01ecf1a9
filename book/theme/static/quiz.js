/*
 * Quizzes of the book, in the reader's browser.
 *
 * Does: judge answers against the key beside each question, show feedback (in a live region, so
 * that screen readers hear it), keep progress in localStorage, and switch between pre-test
 * (feedback at the end) and post-test (feedback at once).
 * Does not: send anything, load anything, or evaluate text as code.
 *
 * The page comes from book/_ext/course/quiz.py; without this file it shows answers in <details>.
 */
(function () {
  "use strict";

  const PREFIX = "xor2gpt:quiz:";

  // --- small helpers ---------------------------------------------------------------------------

  /** An element with attributes and children (nodes or text). */
  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function plural(n, word) {
    return `${n} ${word}${n === 1 ? "" : "s"}`;
  }

  /** localStorage, or this page's memory where the browser refuses it. */
  const store = (function () {
    const memory = new Map();
    let works = true;
    try {
      const probe = PREFIX + "probe";
      window.localStorage.setItem(probe, "1");
      window.localStorage.removeItem(probe);
    } catch (error) {
      works = false;
    }
    return {
      works,
      read(key) {
        try {
          const text = works ? window.localStorage.getItem(key) : memory.get(key);
          return text ? JSON.parse(text) : null;
        } catch (error) {
          return null; // something else wrote there: start anew
        }
      },
      write(key, value) {
        const text = JSON.stringify(value);
        memory.set(key, text);
        if (!works) return;
        try {
          window.localStorage.setItem(key, text);
        } catch (error) {
          // full: the answers still last until the reader leaves
        }
      },
      remove(key) {
        memory.delete(key);
        if (works) window.localStorage.removeItem(key);
      },
    };
  })();

  // --- reading what people type ------------------------------------------------------------------

  /** Every number that `text` can stand for: "0,16" and "1/3" and "−2" and "1,234" are numbers. */
  function readNumbers(text) {
    const clean = text.trim().replace(/\u2212/g, "-").replace(/[\s\u00a0\u202f_]/g, "");
    const fraction = clean.match(/^([^/]+)\/([^/]+)$/);
    if (fraction) {
      const [top, bottom] = [readNumbers(fraction[1])[0], readNumbers(fraction[2])[0]];
      return top === undefined || !bottom ? [] : [top / bottom];
    }
    const plain = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
    const found = [];
    if (/^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$/.test(clean)) {
      found.push(Number(clean.replace(/,/g, ""))); // 1,234 as thousands
    }
    if (plain.test(clean)) found.push(Number(clean));
    else if ((clean.match(/,/g) || []).length === 1 && plain.test(clean.replace(",", "."))) {
      found.push(Number(clean.replace(",", "."))); // 0,16 as a decimal
    }
    return found;
  }

  /** Distance with a hair for floating-point dust, so that 0.155 is within 0.005 of 0.16. */
  function within(value, target, tolerance) {
    return Math.abs(value - target) <= tolerance + 1e-12 * Math.max(1, Math.abs(target));
  }

  /** Case, spaces and the shape of minus signs and quotes do not matter in a gap. */
  function squash(text) {
    return text
      .toLowerCase()
      .replace(/\u2212/g, "-")
      .replace(/[\u2018\u2019]/g, "'")
      .replace(/[\s\u00a0]/g, "");
  }

  // --- question types ----------------------------------------------------------------------------
  // Each has read(form) -> value, write(form, value), empty(value), and
  // judge(key, value) -> {right, got, of, notes: [[label, note name]], marks: [[element index, ok]]}

  function controls(form, selector) {
    return Array.from(form.querySelectorAll(selector));
  }

  /** What a reader did with an option, and what would have been right. */
  function choiceWords(chosen, right) {
    if (chosen) return right ? "right" : "chosen, but wrong";
    return right ? "not chosen, but right" : "rightly left out";
  }

  const choice = {
    read: (form) =>
      controls(form, ".quiz-option input")
        .filter((input) => input.checked)
        .map((input) => Number(input.value))
        .sort((a, b) => a - b),
    write(form, value) {
      for (const input of controls(form, ".quiz-option input")) {
        input.checked = value.includes(Number(input.value));
      }
    },
    empty: (value) => value.length === 0,
    judge(form, key, value) {
      const options = controls(form, ".quiz-option");
      const number = (option) => Number(option.dataset.option);
      const multiple = form.dataset.type === "multiple";
      const ok = (i) => key.right.includes(i) === value.includes(i);
      const shown = options.filter((o) => value.includes(number(o)) || (multiple && !ok(number(o))));
      return {
        right: options.every((o) => ok(number(o))),
        got: options.filter((o) => ok(number(o))).length,
        of: options.length,
        notes: shown.map((o) => ({
          name: `option-${number(o)}`,
          label: o.querySelector(".quiz-option-text"),
          ok: ok(number(o)),
          words: choiceWords(value.includes(number(o)), key.right.includes(number(o))),
        })),
        marks: options
          .filter((o) => value.includes(number(o)) || (multiple && !ok(number(o))))
          .map((o) => [o, ok(number(o))]),
      };
    },
  };

  const numeric = {
    read: (form) => form.querySelector(".quiz-numeric-input").value,
    write(form, value) {
      form.querySelector(".quiz-numeric-input").value = value;
    },
    empty: (value) => value.trim() === "",
    judge(form, key, value) {
      const numbers = readNumbers(value);
      if (numbers.length === 0) {
        return { unreadable: "This is not a number. Write it like 0.25, -3, 1e-4 or 2/3." };
      }
      const right = numbers.some((n) => within(n, key.answer, key.tolerance));
      const near = key.near.findIndex((entry) =>
        numbers.some((n) => within(n, entry.value, entry.tolerance))
      );
      const name = near >= 0 ? `near-${near}` : "other";
      return { right, got: Number(right), of: 1, notes: right ? [] : [{ name, ok: false }], marks: [] };
    },
  };

  const fill = {
    read: (form) => controls(form, ".quiz-blank").map((input) => input.value),
    write(form, value) {
      controls(form, ".quiz-blank").forEach((input, i) => (input.value = value[i] || ""));
    },
    empty: (value) => value.every((text) => text.trim() === ""),
    judge(form, key, value) {
      const order = controls(form, ".quiz-blank").map((input) => Number(input.name.split("-").pop()) - 1);
      const ok = key.blanks.map((accept, i) =>
        accept.some((text) => squash(text) === squash(value[order.indexOf(i)] || ""))
      );
      return {
        right: ok.every(Boolean),
        got: ok.filter(Boolean).length,
        of: ok.length,
        notes: ok.map((good, i) => ({ name: `blank-${i}`, label: `Gap ${i + 1}`, ok: good })),
        marks: controls(form, ".quiz-blank").map((input, k) => [input, ok[order[k]]]),
      };
    },
  };

  const matching = {
    read: (form) => controls(form, ".quiz-pair select").map((select) => select.value),
    write(form, value) {
      controls(form, ".quiz-pair select").forEach((select, i) => (select.value = value[i] || ""));
    },
    empty: (value) => value.every((text) => text === ""),
    judge(form, key, value) {
      const rows = controls(form, ".quiz-pair");
      const ok = key.pairs.map((right, i) => value[i] !== "" && Number(value[i]) === right);
      return {
        right: ok.every(Boolean),
        got: ok.filter(Boolean).length,
        of: ok.length,
        notes: ok.map((good, i) => ({
          name: `pair-${i}`,
          label: rows[i].querySelector(".quiz-left-text"),
          ok: good,
        })),
        marks: rows.map((row, i) => [row, ok[i]]),
      };
    },
  };

  const ordering = {
    read: (form) => controls(form, ".quiz-step").map((step) => Number(step.dataset.item)),
    write(form, value) {
      const list = form.querySelector(".quiz-steps");
      const steps = new Map(controls(form, ".quiz-step").map((s) => [Number(s.dataset.item), s]));
      if (value.length !== steps.size || !value.every((i) => steps.has(i))) return;
      value.forEach((i) => list.append(steps.get(i)));
      updateMoves(form);
    },
    empty: () => false,
    judge(form, key, value) {
      const steps = controls(form, ".quiz-step");
      const ok = value.map((item, place) => item === place);
      const right = ok.every(Boolean);
      return {
        right,
        got: ok.filter(Boolean).length,
        of: ok.length,
        notes: right ? [] : [{ name: "order", ok: false }],
        marks: steps.map((step, i) => [step, ok[i]]),
      };
    },
  };

  const TYPES = { single: choice, multiple: choice, numeric, fill, matching, ordering };

  /** Buttons at the ends of the list cannot move further. They stay focusable, so focus stays. */
  function updateMoves(form) {
    const steps = controls(form, ".quiz-step");
    steps.forEach((step, i) => {
      step.querySelector("[data-move=up]").setAttribute("aria-disabled", String(i === 0));
      step
        .querySelector("[data-move=down]")
        .setAttribute("aria-disabled", String(i === steps.length - 1));
    });
  }

  function move(form, button) {
    const steps = controls(form, ".quiz-step");
    const step = button.closest(".quiz-step");
    const from = steps.indexOf(step);
    const to = from + (button.dataset.move === "up" ? -1 : 1);
    const live = form.querySelector(".quiz-live");
    if (to < 0 || to >= steps.length) {
      live.textContent = `This step is already ${to < 0 ? "first" : "last"}.`;
      return false;
    }
    if (to < from) steps[to].before(step);
    else steps[to].after(step);
    updateMoves(form);
    button.focus(); // moving a node takes the focus away
    live.textContent = `Moved ${button.dataset.move}: now step ${to + 1} of ${steps.length}.`;
    return true;
  }

  // --- one quiz ------------------------------------------------------------------------------------

  class Quiz {
    constructor(root) {
      this.root = root;
      this.name = root.dataset.quiz;
      this.forms = Array.from(root.querySelectorAll(".quiz-question"));
      this.start = new Map(this.forms.map((form) => [form, this.type(form).read(form)]));
      this.state = this.load();
      this.show();
      this.listen();
      this.restore();
    }

    type(form) {
      return TYPES[form.dataset.type];
    }

    id(form) {
      return form.dataset.question;
    }

    // --- state: {mode, pre: {done, right, answers: {id: {value, checked, version}}}, post: {…}}
    blank() {
      return { mode: "post", pre: { answers: {} }, post: { answers: {} } };
    }

    load() {
      const found = store.read(PREFIX + this.name);
      const usable =
        found &&
        ["pre", "post"].includes(found.mode) &&
        [found.pre, found.post].every((run) => run && run.answers && typeof run.answers === "object");
      return usable ? found : this.blank();
    }

    /** The kept answer, unless the question has changed since or the store was tampered with. */
    saved(form) {
      const saved = this.run.answers[this.id(form)];
      if (!saved || saved.version !== form.dataset.version) return null;
      const start = this.start.get(form);
      const same = typeof saved.value === typeof start && Array.isArray(saved.value) === Array.isArray(start);
      return same ? saved : null;
    }

    keep(form, value, checked) {
      this.run.answers[this.id(form)] = { value, checked, version: form.dataset.version };
      this.save();
    }

    save() {
      store.write(PREFIX + this.name, this.state);
    }

    get run() {
      return this.state[this.state.mode];
    }

    /** Feedback is held back in a pre-test that is not finished. */
    get silent() {
      return this.state.mode === "pre" && !this.run.done;
    }

    // --- page
    show() {
      this.root.classList.add("quiz-live-page");
      for (const node of this.root.querySelectorAll(".quiz-bar, .quiz-actions, .quiz-move")) {
        node.hidden = false;
      }
      for (const node of this.root.querySelectorAll(".quiz-noscript, .quiz-solution")) {
        node.hidden = true;
      }
      if (!store.works) {
        this.root.querySelector(".quiz-storage-note").textContent =
          "Your browser does not let this page keep answers: they last until you leave it. ";
      }
    }

    listen() {
      for (const form of this.forms) {
        form.addEventListener("submit", (event) => {
          event.preventDefault();
          this.submit(form);
        });
        form.addEventListener("input", () => this.edited(form));
        form.addEventListener("click", (event) => {
          const button = event.target.closest(".quiz-move");
          if (button && move(form, button)) this.edited(form);
        });
      }
      for (const radio of this.root.querySelectorAll(".quiz-mode input")) {
        radio.addEventListener("change", () => {
          this.state.mode = radio.value;
          this.save();
          this.restore();
        });
      }
      this.root.querySelector(".quiz-forget").addEventListener("click", () => this.forget());
      this.root.querySelector(".quiz-finish-button").addEventListener("click", () => this.finish());
    }

    /** Fill the page from the state. */
    restore() {
      for (const radio of this.root.querySelectorAll(".quiz-mode input")) {
        radio.checked = radio.value === this.state.mode;
      }
      for (const form of this.forms) {
        const saved = this.saved(form);
        this.type(form).write(form, saved ? saved.value : this.start.get(form));
        this.clear(form);
        if (form.dataset.type === "ordering") updateMoves(form);
        if (saved && saved.checked) this.answer(form, saved.value);
      }
      this.progress();
    }

    /** A changed answer is kept at once; what was said about the old one goes. */
    edited(form) {
      this.keep(form, this.type(form).read(form), false);
      this.clear(form);
      this.progress();
    }

    submit(form) {
      const value = this.type(form).read(form);
      const result = form.querySelector(".quiz-result");
      if (this.type(form).empty(value)) {
        this.clear(form);
        result.append(make("p", { class: "quiz-verdict quiz-missing" }, "Nothing is chosen or written yet."));
        return;
      }
      const verdict = this.type(form).judge(form, this.key(form), value);
      if (verdict.unreadable) {
        this.clear(form);
        result.append(make("p", { class: "quiz-verdict quiz-missing" }, verdict.unreadable));
        return;
      }
      this.keep(form, value, true);
      this.answer(form, value);
      this.progress();
    }

    key(form) {
      return JSON.parse(form.dataset.key);
    }

    verdict(form) {
      const saved = this.saved(form);
      if (!saved || !saved.checked) return null;
      return this.type(form).judge(form, this.key(form), saved.value);
    }

    clear(form) {
      form.classList.remove("is-right", "is-wrong", "is-saved");
      form.querySelector(".quiz-result").replaceChildren();
      form.querySelector(".quiz-check").textContent = this.silent ? "Save this answer" : "Check";
      for (const node of form.querySelectorAll(".mark-right, .mark-wrong")) {
        node.classList.remove("mark-right", "mark-wrong");
        node.removeAttribute("aria-invalid");
      }
      for (const node of form.querySelectorAll(".quiz-mark")) node.replaceChildren();
    }

    /** Show what is to be said about a checked answer. */
    answer(form, value) {
      this.clear(form);
      const result = form.querySelector(".quiz-result");
      if (this.silent) {
        form.classList.add("is-saved");
        result.append(make("p", { class: "quiz-verdict" }, "Saved. The feedback comes at the end."));
        return;
      }
      const verdict = this.type(form).judge(form, this.key(form), value);
      if (verdict.unreadable) return; // an old state that this version cannot read
      form.classList.add(verdict.right ? "is-right" : "is-wrong");
      const score = verdict.of > 1 && !verdict.right && form.dataset.type !== "single"
        ? ` ${verdict.got} of ${verdict.of} are right.` : "";
      result.append(
        make(
          "p",
          { class: "quiz-verdict" },
          make("span", { class: "quiz-sign", "aria-hidden": "true" }, verdict.right ? "✓" : "✗"),
          verdict.right ? " Right." : ` Not yet.${score}`
        )
      );
      const list = make("ul", { class: "quiz-feedback" });
      for (const entry of verdict.notes) list.append(this.note(form, entry));
      if (list.children.length) result.append(list);
      const explanation = make("details", { class: "quiz-explanation" }, make("summary", {}, "Explanation"));
      explanation.append(...this.copy(form, "explanation"));
      explanation.open = verdict.right;
      result.append(explanation);
      for (const [node, ok] of verdict.marks) this.mark(node, ok);
    }

    note(form, entry) {
      const item = make("li", { class: entry.ok ? "note-right" : "note-wrong" });
      if (entry.label) {
        const label = make("p", { class: "quiz-note-label" });
        label.append(make("span", { "aria-hidden": "true" }, entry.ok ? "✓ " : "✗ "));
        if (typeof entry.label === "string") label.append(entry.label);
        else label.append(...Array.from(entry.label.childNodes, (node) => node.cloneNode(true)));
        const words = entry.words || (entry.ok ? "right" : "wrong");
        label.append(make("span", { class: "quiz-note-words" }, ` (${words})`));
        item.append(label);
      }
      item.append(...this.copy(form, entry.name));
      return item;
    }

    /** The feedback text of that name, already typeset by MathJax. */
    copy(form, name) {
      const source = form.querySelector(`.quiz-solution [data-note="${name}"]`);
      return source ? Array.from(source.childNodes, (node) => node.cloneNode(true)) : [];
    }

    mark(node, ok) {
      node.classList.add(ok ? "mark-right" : "mark-wrong");
      if (node.matches("input")) {
        if (!ok) node.setAttribute("aria-invalid", "true");
        return;
      }
      const place = node.querySelector(".quiz-mark");
      if (!place) return;
      place.append(
        make("span", { "aria-hidden": "true" }, ok ? "✓" : "✗"),
        make("span", { class: "visually-hidden" }, ok ? "right" : "wrong")
      );
    }

    progress() {
      const verdicts = this.forms.map((form) => this.verdict(form)).filter(Boolean);
      const right = verdicts.filter((verdict) => verdict.right).length;
      const total = this.forms.length;
      this.root.querySelector("progress").value = verdicts.length;
      const parts = [`${verdicts.length} of ${total} answered`];
      if (!this.silent) parts.push(`${right} right`);
      if (this.state.mode === "post" && this.state.pre.done) {
        parts.push(`pre-test: ${this.state.pre.right} of ${total} right`);
      }
      this.setText(this.root.querySelector(".quiz-score"), parts.join(" · "));
      const finish = this.root.querySelector(".quiz-finish");
      finish.hidden = this.state.mode !== "pre";
      finish.querySelector(".quiz-finish-button").hidden = !this.silent;
      const note = finish.querySelector(".quiz-finish-note");
      if (this.silent) {
        const open = total - verdicts.length;
        this.setText(note, open ? `${plural(open, "question")} without a saved answer.` : "All questions are answered.");
      } else if (this.state.mode === "pre") {
        this.setText(
          note,
          `Pre-test finished: ${this.run.right} of ${total} right. The feedback is above. ` +
            "Take the post-test after the stage."
        );
      }
    }

    /** Live regions speak when their text changes, so leave it alone when it does not. */
    setText(node, text) {
      if (node.textContent !== text) node.textContent = text;
    }

    finish() {
      this.run.right = this.forms.filter((form) => {
        const verdict = this.verdict(form);
        return verdict && verdict.right;
      }).length;
      this.run.done = true;
      this.save();
      this.restore();
      this.root.querySelector(".quiz-finish-note").focus();
    }

    forget() {
      if (!window.confirm("Forget all answers to this quiz, of pre-test and post-test?")) return;
      store.remove(PREFIX + this.name);
      const mode = this.state.mode;
      this.state = this.blank();
      this.state.mode = mode;
      this.restore();
    }
  }

  for (const root of document.querySelectorAll("[data-quiz]")) new Quiz(root);
})();
