"""What all pages of the grader share: making foreign text harmless, and putting it on a page.

Does: show control characters, escape sequences and text-direction tricks instead of obeying them;
cut what is too long and say so; colour Python; render Markdown without raw HTML; fill the
templates under a content security policy that allows one style sheet and nothing else; give
students stable pseudonyms.
Does not: decide what a page may show (``feedback``, ``report``, ``similarity`` do), or trust any
text: names, messages, code, answers and notes all go through here.

Three walls stand behind each other: text is cleaned and escaped, Markdown is sanitised by nh3
(ammonia) after rendering, and the policy in the page forbids scripts, frames, forms and requests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nh3
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.python import PythonLexer

from autograder.model import STUDENT_ID

TEMPLATES = Path(__file__).parent / "templates"
LINE_LENGTH = 300  # a longer line of code is cut
CELL_LINES = 400
CELL_LENGTH = 20_000  # characters of one cell or answer
MESSAGE_LENGTH = 2_000
ID_LENGTH = 100

ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links, strings to the terminal
    r"|\x1b[ -/]*[0-~]"  # everything else that begins with ESC
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
UNSEEN = re.compile(  # turns text around, or hides in it
    "[\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
COMBINING = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
TOWERS = re.compile(f"({COMBINING}{{8}}){COMBINING}+")  # marks piled up over other lines
LOG_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)  # GitHub's ::error::, at a line's start
LOG_COMMAND_ANYWHERE = re.compile(r"#(?=#[\w.-]*\[)")  # ##vso[…], ##[…], ##teamcity[…]


# --- text -----------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """``text`` with nothing in it that a browser, a terminal or a reader would obey unseen.

    Escape sequences go; characters that reorder or hide text are shown as ``‹U+202E›``; other
    control characters become ``\\ufffd``; line ends become ``\\n``. Tabs stay.
    """
    text = ANSI.sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    text = UNSEEN.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)
    text = CONTROL.sub("\ufffd", text)
    return TOWERS.sub(r"\1", text)


def for_log(text: str) -> str:
    """``clean`` text on one line that a terminal or a CI log can print: no line of it is taken for
    a command (``::set-output``, ``##vso[``)."""
    text = " ".join(clean(text).split("\n")).replace("\t", " ")
    text = LOG_COMMAND_ANYWHERE.sub("# ", text)
    return LOG_COMMAND.sub(r"\1: ", text)


@dataclass(frozen=True)
class Cut:
    """Text as shown, and a note where something was left out."""

    text: str
    note: str = ""


def cut(text: str, *, length: int = CELL_LENGTH, lines: int = CELL_LINES, columns: int = 0) -> Cut:
    """``clean`` text of at most ``length`` characters and ``lines`` lines, each of at most
    ``columns`` characters (0: any), with a note that says what is missing."""
    whole, missing = len(text), []
    text = clean(text[: 4 * length])[:length]
    if whole > length:
        missing.append(f"{whole - length:,} more characters")
    rows = text.split("\n")
    if len(rows) > lines:
        missing.append(f"{len(rows) - lines:,} more lines")
        rows = rows[:lines]
    if columns and any(len(row) > columns for row in rows):
        missing.append(f"the ends of lines longer than {columns} characters")
        rows = [row if len(row) <= columns else row[:columns] + " …" for row in rows]
    return Cut("\n".join(rows), f"Not shown: {', '.join(missing)}." if missing else "")


def message_text(text: str) -> str:
    """A check's message as pages show it."""
    shown = cut(text, length=MESSAGE_LENGTH, lines=30)
    return shown.text + (f"\n({shown.note})" if shown.note else "")


def number(value: float) -> str:
    """Points as people write them: ``2``, ``0.5``, ``1.67``."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --- code and Markdown ----------------------------------------------------------------------------


def highlight(source: str) -> Markup:
    """Python source, already cut, as coloured HTML: ``span`` elements with classes, no more."""
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    html = pygments_highlight(source, lexer, HtmlFormatter(nowrap=True, classprefix="hl-"))
    return Markup(html.rstrip("\n"))


def _only_web_links(tag: str, attribute: str, value: str) -> str | None:
    if tag == "a" and attribute == "href":
        return value if re.match(r"https?://[^\s/]", value, re.IGNORECASE) else None
    return value


SANITISER = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "h4", "h5", "h6", "em", "strong", "s", "code", "pre", "blockquote"),
        *("ul", "ol", "li", "a", "span", "table", "thead", "tbody", "tr", "th", "td"),
    },
    clean_content_tags={"script", "style"},
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
    allowed_classes={"code": {"math"}, "span": {"picture"}},
    attribute_filter=_only_web_links,
    url_schemes={"http", "https"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
)


def _lower_headings(state: Any) -> None:
    """The page has its own first three levels."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 3, 6)}"


@functools.cache
def _markdown() -> MarkdownIt:
    def picture(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        return f'<span class="picture">[picture: {escape(tokens[index].content)}]</span>'

    def math(text: str, _: Any) -> str:
        return f'<code class="math">{escape(text)}</code>'

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20})
    parser.enable(["table", "strikethrough"])
    parser.disable("reference")  # quadratic in the number of definitions, and nobody needs them
    parser.use(dollarmath_plugin, allow_labels=False, renderer=math)
    parser.add_render_rule("image", picture)
    parser.core.ruler.push("lower_headings", _lower_headings)
    return parser


def markdown(text: str) -> Markup:
    """Markdown as sanitised HTML: no raw HTML, no pictures, links to http(s) only; formulas stay
    as they were typed."""
    return Markup(SANITISER.clean(_markdown().render(clean(text))))


# --- pages ----------------------------------------------------------------------------------------


def _shown(value: Any) -> Any:
    """Every text that a template puts on a page, unless it is HTML that we made."""
    return clean(value) if type(value) is str else value


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = number
    return environment


def render(template: str, **context: Any) -> str:
    """A whole page. Its policy names the style sheet's hash; ``::`` and ``##`` in the text are
    written as character references, so that printing the page in a CI log gives no commands."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    html = (
        _environment()
        .get_template(template)
        .render(style=Markup(style), style_hash=digest, **context)
    )
    head, marker, body = html.partition("</style>")
    body = body.replace("::", "&#58;&#58;").replace("##", "&#35;&#35;")
    return head + marker + body


def write_text(path: Path, text: str) -> Path:
    """Write a file at once: readers see the old one or the whole new one. Folders are made."""
    return write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


# --- names ----------------------------------------------------------------------------------------


def read_key(path: Path) -> bytes:
    """The key of the pseudonyms, made on first use. Keep it: with it, names can be told again."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
    key = path.read_text(encoding="ascii").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise ValueError(f"{path} holds no key for pseudonyms: delete it and a new one is made")
    return bytes.fromhex(key)


def pseudonym(student: str, key: bytes) -> str:
    """A name that is the same for the same student and key, and says nothing about the student."""
    digest = hmac.new(key, student.encode("utf-8", "replace"), hashlib.sha256).digest()
    return "S-" + base64.b32encode(digest[:5]).decode().lower()


@dataclass(frozen=True)
class Namer:
    """How pages call students: by id, or by pseudonym when there is a key."""

    key: bytes | None = None

    @classmethod
    def choose(cls, anonymous: bool, key: bytes | None) -> Namer:
        """Raises ``ValueError`` when anonymous pages are asked for without a key."""
        if anonymous and not key:
            raise ValueError(
                "anonymous pages need a key, or the same student would have a new name on each "
                "page: pass key=read_key(a file that stays with you)"
            )
        return cls(key if anonymous else None)

    def name(self, student: str) -> str:
        if self.key is None:
            return cut(student, length=ID_LENGTH, lines=1).text
        return pseudonym(student, self.key)

    def mask(self, text: str, student: str) -> str:
        """``text`` with the student's id replaced, where pages are anonymous."""
        if self.key is None or len(student) < 3:
            return text
        pattern = re.compile(rf"(?<!\w){re.escape(student)}(?!\w)", re.IGNORECASE)
        return pattern.sub(self.name(student), text)

    def stem(self, student: str) -> str:
        """A safe file name without its ending."""
        if self.key is not None:
            return pseudonym(student, self.key)
        if STUDENT_ID.match(student) and "\n" not in student:
            return student
        return "id-" + hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:16]
