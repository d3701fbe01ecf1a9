"""Watching a page in the browser tests.

Does: record what a page says on its console and asks of the network, and wait for its formulas.
Does not: start a browser (see ``conftest``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Page, Route


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


def wait_for_math(page: Page) -> None:
    """Wait until MathJax has set every formula (pages without one have no MathJax)."""
    page.evaluate(
        "() => window.MathJax && window.MathJax.startup ? window.MathJax.startup.promise : null"
    )
