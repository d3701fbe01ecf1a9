"""A real browser and the book on localhost, shared by all tests of this folder.

Does: find the system's Chromium (skip without one, fail where CI is set), serve the built book on a
free port, and record what every page says on its console and asks of the network.
Does not: download a browser, or let a page reach another host.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from book_kit import SmallBook, built_book
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from autograder.authoring import book

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",  # CI runs as root; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    program = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if program is None:
        message = f"no browser found ({', '.join(CHROMIUM)}): install Chromium to test the book"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{message} (CI must have it)")
        pytest.skip(message)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


def shown(folder: Path) -> Iterator[str]:
    """Serve a folder in the background; the address ends with a slash."""
    server = book.server(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the real book."""
    yield from shown(built_book())


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small book whose quiz has every type of question."""
    made = SmallBook(tmp_path_factory.mktemp("small-site") / "course")
    yield from shown(made.build())


@dataclass
class Watch:
    """What went wrong while a page was open. All lists are empty for a good page."""

    console: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def over(self, page: Page, address: str) -> None:
        """Start to watch; requests that leave ``address`` are recorded and refused."""

        def route(route: Route) -> None:
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(route.request.url)
                route.abort()

        page.route("**/*", route)
        page.on(
            "console",
            lambda message: (
                self.console.append(f"{message.type}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: self.console.append(f"exception: {error}"))
        page.on("requestfailed", lambda request: self.failed.append(f"failed: {request.url}"))
        page.on(
            "response",
            lambda response: (
                self.failed.append(f"{response.status}: {response.url}")
                if response.status >= 400
                else None
            ),
        )

    @property
    def everything(self) -> list[str]:
        return self.console + self.failed + [f"foreign: {url}" for url in self.foreign]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no storage from another test, light theme, a laptop's window."""
    made = browser.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",  # axe would see colours half way between two themes
    )
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def wait_for_math(page: Page) -> None:
    """Wait until MathJax has set every formula (pages without one have no MathJax)."""
    page.evaluate(
        "() => window.MathJax && window.MathJax.startup ? window.MathJax.startup.promise : null"
    )
