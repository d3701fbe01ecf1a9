"""What the tests of the grader's pages share: a small stage, results, hostile text, and a judge.

Does: make manifests, submissions and results without grading; say whether a page is harmless by
looking at it with an HTML parser.
Does not: run student code, or trust the code under test to say what is safe.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace

from bs4 import BeautifulSoup
from hypothesis import strategies as st

from autograder.manifest import Check, Manifest, ManualQuestion, StudentCell
from autograder.model import (
    CheckResult,
    Flag,
    ManualResult,
    Result,
    Submission,
    SubmittedCell,
    Verdict,
    overall_verdict,
)

CANARY = "canary_5f1d = secret_expected_value(3, 'canary_9a77')"
VISIBLE = 'assert double(2) == 4, "twice the input"'
STUB = "def double(x):\n    raise NotImplementedError"
ANSWER = "def double(x):\n    return 2 * x"
CHECKS = [
    ("double-check-1", "double", 1.0),
    ("double-check-2", "double", 2.0),
    ("sum-1", "sum", 1.0),
]


def make_manifest(checks: Iterable[tuple[str, str, float]] = CHECKS) -> Manifest:
    """A stage with the given checks (id, exercise, points), all with a hidden canary."""
    return Manifest(
        stage="02_small",
        prelude=["import numpy as np\nGRADING_SEED = 1"],
        cells=[
            StudentCell("double", STUB, "double"),
            StudentCell("sum", "def total(xs):\n    raise NotImplementedError", "sum"),
            StudentCell("lesson", "table = np.arange(4)\nprint(table)"),
        ],
        exports={"double": ["double"], "sum": ["total"]},
        checks=[Check(i, e, p, f"{VISIBLE}\n{CANARY}", VISIBLE) for i, e, p in checks],
        manual=[ManualQuestion("why", 2.0)],
        blocked_modules=[],
        demo_cells=[],
    )


MANIFEST = make_manifest()


def make_submission(
    student: str = "ada",
    *,
    cells: Iterable[tuple[str, str]] = (("double", ANSWER),),
    answers: dict[str, str] | None = None,
    problem: str | None = None,
    notes: Iterable[str] = (),
    flags: Iterable[Flag] = (),
    received: str | None = "2026-03-02T10:00:00+00:00",
) -> Submission:
    made = [
        SubmittedCell(name, source, "extra" if name.startswith("extra") else "id")
        for name, source in ([] if problem is not None else cells)
    ]
    content = repr((student, made, answers)).encode("utf-8", "replace")
    return Submission(
        student=student,
        stage=MANIFEST.stage,
        sha256=hashlib.sha256(content).hexdigest(),
        cells=made,
        answers=answers or {},
        flags=list(flags),
        problem=problem,
        received=received,
        notes=list(notes),
    )


def make_result(
    submission: Submission,
    *,
    passed: Iterable[bool] = (True, True, True),
    messages: Iterable[str] = (),
    verdict: Verdict = Verdict.WA,
    manual: float | None = None,
    manifest: Manifest = MANIFEST,
    cpu_seconds: float = 0.02,
    peak_memory_mb: float = 90.0,
    seed: int = 1,
) -> Result:
    """A result as the engine would write it; checks that failed have ``verdict``."""
    said = iter([*messages, *([""] * len(manifest.checks))])
    checks = [
        CheckResult(
            check.id,
            Verdict.AC if good else verdict,
            check.points if good else 0.0,
            check.points,
            "" if good else next(said),
        )
        for check, good in zip(manifest.checks, passed, strict=True)
    ]
    return Result(
        student=submission.student,
        stage=manifest.stage,
        verdict=overall_verdict(checks),
        points=sum(check.points for check in checks),
        max_points=manifest.max_points,
        checks=checks,
        manual=[ManualResult(q.id, q.max_points, manual) for q in manifest.manual],
        flags=sorted(set(submission.flags)),
        submission=submission.sha256,
        manifest=manifest.digest,
        seed=seed,
        notes=list(submission.notes),
        cpu_seconds=cpu_seconds,
        peak_memory_mb=peak_memory_mb,
    )


def invalid(student: str, problem: str) -> tuple[Submission, Result]:
    """A submission that could not be read, and its result."""
    submission = make_submission(student, problem=problem)
    result = make_result(
        submission, passed=[False] * 3, messages=[problem] * 3, verdict=Verdict.INVALID
    )
    return submission, replace(result, verdict=Verdict.INVALID)


# --- hostile text ---------------------------------------------------------------------------------

PAYLOADS = [
    "<script>alert(1)</script>",
    "</pre></code></style></title><script src=https://evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)><style>@import 'https://evil.example'</style>",
    "<math><mtext><table><mglyph><style><!--</style>"
    "<img title='--&gt;&lt;img src=1 onerror=a()&gt;'>",
    '"><iframe srcdoc="<script>alert(1)</script>">',
    "' autofocus onfocus=alert(1) x='",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&colon;alert(1))",
    "[click](java\tscript:alert(1))",
    "[d](data:text/html;base64,PHNjcmlwdD4=)",
    "[v](vbscript:msgbox(1)) <javascript:alert(1)>",
    "![pixel](https://evil.example/pixel.png)",
    '[ok](https://example.org/a?b=c&d=e "title")',
    "[relative](../other-student.html) [file](file:///etc/passwd) [p](//evil.example)",
    "[odd](https:evil.example) [odd](http:/x) [odd](https:///etc)",
    "[x]: javascript:alert(1)\n\n[x]",
    r"$\href{javascript:alert(1)}{click}$ $$\htmlData{onclick=alert(1)}{x}$$",
    "\x1b[2J\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\x1b[31mred",
    "::set-output name=points::100",
    "  ::error file=a.py::boo",
    "##vso[task.setvariable variable=x]y",
    "##[command]rm",
    "\u202egpj.exe\u2066hidden\u2069 \u200bzero \U000e0041tag",
    "\x00\x07\x08\x9b31m\x7f\ud800\uffff",
    "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a\u030b\u030c",
    "{{ config }}{% raw %}{{ 7 * 7 }}",
    "&lt;script&gt; &#106;avascript: &amp;lt;",
    "```html\n<script>alert(1)</script>\n```",
    "| a | b |\n|---|---|\n| <b onclick=x()>1</b> | ~~2~~ |",
    "# heading\n\n> quote\n\n1. one\n2. two",
    "<!-- comment --> <?php echo 1 ?> <![CDATA[ x ]]>",
    "=cmd|'/c calc'!A1",
    "x" * 5000,
]
TEXT = st.lists(
    st.one_of(st.sampled_from(PAYLOADS), st.text(max_size=30)), min_size=1, max_size=4
).map("".join)


def words(text: str) -> set[str]:
    return set(text.split())


# --- the judge ------------------------------------------------------------------------------------

TAGS = words(
    "html head meta title style body a header main footer section article p h1 h2 h3 h4 h5 h6 ul "
    "ol li div span b em strong s br hr pre code blockquote table caption thead tbody tr th td "
    "mark i figure picture source img"
)
ATTRIBUTES = words(
    "lang charset http-equiv content name id class href rel role scope tabindex aria-hidden "
    "aria-label aria-labelledby data-label start alt width height src srcset media"
)
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\U000e0000-\U000e007f]"
)


def assert_harmless(html: str, *, pictures: bool = False) -> BeautifulSoup:
    """Nothing on the page runs, hides, or asks another host for anything."""
    html.encode("utf-8")  # no half characters
    soup = BeautifulSoup(html, "html.parser")
    assert not UNSEEN.search(html), "a control or direction character is on the page"
    style = soup.find_all("style")
    assert len(style) == 1 and "url(" not in style[0].string and "@import" not in style[0].string
    digest = base64.b64encode(hashlib.sha256(style[0].string.encode()).digest()).decode()
    policies = soup.find_all("meta", attrs={"http-equiv": True})
    assert len(policies) == 1 and policies[0]["http-equiv"] == "Content-Security-Policy"
    policy = policies[0]["content"]
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in policy
    assert ("img-src" in policy) == pictures and "unsafe" not in policy and "script" not in policy
    assert html.index("Content-Security-Policy") < html.index("<style>")
    rest = html.partition("</style>")[2]
    assert "::" not in rest and "##" not in rest, "a CI log would take this for a command"
    for tag in soup.find_all(True):
        assert tag.name in TAGS, f"<{tag.name}> is on the page"
        assert pictures or tag.name not in ("img", "source", "picture")
        for name, value in tag.attrs.items():
            assert name in ATTRIBUTES, f"<{tag.name} {name}=…> is on the page"
            if name in ("src", "srcset"):
                assert value.startswith("data:image/png;base64,")
        if tag.name == "a" and "href" in tag.attrs:
            if tag["href"].startswith("#"):
                assert soup.find(id=tag["href"][1:]), f"{tag['href']} leads nowhere"
            else:
                assert re.match(r"https?://", tag["href"], re.IGNORECASE), tag["href"]
                assert "noopener" in tag["rel"]
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids)), "an id is there twice"
    return soup
