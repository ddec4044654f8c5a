"""The page "Traces" in a real browser, on the real stack."""

import httpx
import pytest
from playwright.sync_api import expect
from support.console_pages import SOON, Opener, keep
from support.running_stack import NATIVELY, Stack

pytestmark = pytest.mark.timeout(3600)


@NATIVELY
def test_search_finds_failed_requests_only_when_asked(open_page: Opener, stack: Stack) -> None:
    """With the filter, failed traces are found and no others."""
    stack.put_faults(error_rate=1)
    httpx.get(f"{stack.storefront}/v1/products", trust_env=False)
    stack.put_faults()
    page = open_page("/traces")

    def finds_failed_ones_alone() -> bool:
        page.get_by_role("button", name="Search").click()
        page.wait_for_timeout(500)
        # Before the answer is there, the page still shows what it found without the filter.
        return 0 < page.locator(".trace").count() == page.locator(".trace.failed").count()

    expect(page.locator(".trace").first).to_be_visible(timeout=SOON)
    page.get_by_text("with errors only").click()
    stack.wait("failed traces alone", finds_failed_ones_alone, seconds=30)
    keep(page, f"{stack.runtime.kind}-traces")


@NATIVELY
@pytest.mark.parametrize("path", ["/traces", f"/traces/{'a' * 32}"])
def test_a_jaeger_that_is_frozen_keeps_no_page_away(path: str, open_page: Opener, stack: Stack) -> None:
    """The page appears at once, and reports the timeout when it has waited long enough."""
    stack.runtime.pause("jaeger")
    try:
        page = open_page(path)
        expect(page.get_by_text("asking Jaeger")).to_be_visible(timeout=SOON)
        expect(page.get_by_text("Jaeger does not answer (ReadTimeout)")).to_be_visible(timeout=SOON)
    finally:
        stack.runtime.resume("jaeger")
