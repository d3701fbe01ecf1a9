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
from pathlib import Path

import pytest
from book_kit import SmallBook, built_book
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from autograder.authoring import book

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
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
    found = [shutil.which(name) for name in CHROMIUM] + [
        path for path in MAC if Path(path).exists()
    ]
    program = next((path for path in found if path), None)
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


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no storage from another test, light theme, a laptop's window."""
    made = browser.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",  # axe would see colours half way between two themes
    )
    made.set_default_timeout(30_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
