"""The console beside the running stack, and a browser to open its pages."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from support.console_pages import Opener
from support.running_stack import Stack

from stack.console_page import ConsolePage


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, or another of its family."""
    found = [
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    ]
    if not found:
        pytest.skip("no browser: install chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def console(stack: Stack) -> Iterator[str]:
    """The console beside the stack; ended unless it ran before."""
    page = ConsolePage(stack.settings, stack.runtime.kind, Console())
    was_up = page.status().pid is not None
    page.start()
    yield page.part.address
    if not was_up:
        page.clean()


@pytest.fixture
def open_page(browser: Browser, console: str) -> Iterator[Opener]:
    """Opens pages, none of which may log a complaint or send a request off this machine."""
    opener = Opener(browser, console)
    yield opener
    opener.close()
    assert not opener.complaints
