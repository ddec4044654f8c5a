"""The console's pages in a browser, as its tests open and read them."""

import re

import httpx
from playwright.sync_api import Browser, Page
from support.running_stack import Stack

from stack.service_variables import authorization
from stack.settings import ROOT

SCREENSHOTS = ROOT / "reports" / "screenshots"
PHONE, DESK = {"width": 375, "height": 800}, {"width": 1600, "height": 1000}
SOON, LATER = 15_000, 120_000
"""Milliseconds."""
_TRIES = 5


class Opener:
    """The pages that one test opens, and their complaints."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        self._address = address
        self._pages: list[Page] = []
        self.complaints: list[str] = []

    def __call__(self, path: str, *, size: dict[str, int] = DESK, scheme: str = "light") -> Page:
        """Opens a page."""
        page = self._browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        page.on("request", lambda request: self._see(request.url))
        self._pages.append(page)
        page.goto(f"{self._address}{path}")
        for _ in range(_TRIES):
            if page.get_by_role("heading", level=1).count():
                break
            # Starting and stopping containers changes this machine's networks, which aborts a page's loading.
            page.wait_for_timeout(2_000)
            page.reload()
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "ERR_NETWORK_CHANGED" not in text:
            self.complaints.append(text)

    def _see(self, url: str) -> None:
        if "://127.0.0.1:" not in url and not url.startswith("data:"):
            self.complaints.append(f"asks {url}")

    def close(self) -> None:
        """Closes all pages."""
        for page in self._pages:
            page.close()


def keep(page: Page, name: str) -> None:
    """Saves a screenshot of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def figure(page: Page, name: str) -> float:
    """Returns one of the large numbers, or -1 while it is not known."""
    text = page.locator(f'[data-figure="{name}"]').inner_text()
    found = re.search(r"[\d,.]+", text)
    return float(found[0].replace(",", "")) if found else -1


def wait_for_figure(page: Page, stack: Stack, name: str, at_least: float, *, at_most: float = 1e12) -> None:
    """Waits until the number is within these bounds."""
    stack.wait(
        f"{name} from {at_least:g} to {at_most:g}",
        lambda: page.wait_for_timeout(200) or at_least <= figure(page, name) <= at_most,
        seconds=LATER / 1000,
    )


def tune(stack: Stack, **override: float) -> None:
    """Tunes both services without the page; waits for a batch size, which may lag behind the response."""
    for port in (stack.settings.storefront_port, stack.settings.inventory_port):
        httpx.put(
            f"http://127.0.0.1:{port}/tuning",
            json=override,
            headers=authorization(stack.settings),
            trust_env=False,
        ).raise_for_status()
    if (size := override.get("batch_size")) is not None:
        wait_for_batch(stack, size)


def wait_for_batch(stack: Stack, size: float) -> None:
    """Waits until the storefront makes batches of this size."""
    stack.wait(f"batches of {size:g}", lambda: stack.health()["batch"]["size"] == size, seconds=15)
