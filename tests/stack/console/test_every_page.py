"""All pages of the console fit the screen, report what is down, and let no other site act."""

import httpx
import pytest
from playwright.sync_api import expect
from support.console_pages import DESK, LATER, PHONE, SOON, Opener, keep
from support.running_stack import NATIVELY, Stack

pytestmark = pytest.mark.timeout(3600)
CALM = 0.005
"""Cumulative layout shift; the web's own limit for a good page is 0.1."""
_LAYOUT_SHIFT = """() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => { for (const shift of list.getEntries()) sum += shift.value; })
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => resolve(sum), 1000);
})"""
PATHS = ("/", "/traces", "/dashboards/service", "/doctor")
PAGES = [
    *(
        pytest.param("native", path, scheme, marks=pytest.mark.stack)
        for path in PATHS
        for scheme in ("light", "dark")
    ),
    # With links that only containers have, and the doctor's findings on containers.
    *(pytest.param("compose", path, "light", marks=pytest.mark.compose) for path in PATHS),
]


@pytest.mark.parametrize(("stack", "path", "scheme"), PAGES, indirect=["stack"])
def test_pages_fit_a_phone_and_a_desk(path: str, scheme: str, open_page: Opener, stack: Stack) -> None:
    """Nothing is cut off at the side, and nothing jumps while figures load, in either scheme."""
    for name, size in (("phone", PHONE), ("desk", DESK)):
        page = open_page(path, size=size, scheme=scheme)
        expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=SOON)
        page.wait_for_timeout(2_500)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate(_LAYOUT_SHIFT) < CALM
        is_dark = page.evaluate("document.body.classList.contains('body--dark')")
        assert is_dark is (scheme == "dark")
        keep(page, f"{stack.runtime.kind}-{path.strip('/').replace('/', '-') or 'live'}-{scheme}-{name}")


def test_doctor_says_what_to_do(open_page: Opener, stack: Stack) -> None:
    """The remedy is shown for a part that is down, and disappears when the part is up again."""
    stack.runtime.kill("collector")
    try:
        page = open_page("/doctor")
        expect(page.get_by_text("make start PART=collector")).to_be_visible(timeout=LATER)
        keep(page, f"{stack.runtime.kind}-doctor")
    finally:
        stack.runtime.start("collector")
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_text("make start PART=collector")).to_have_count(0, timeout=LATER)


@pytest.mark.parametrize(
    ("part", "path", "words"),
    [
        ("jaeger", "/traces", "Jaeger does not answer"),
        ("jaeger", f"/traces/{'a' * 32}", "Jaeger does not answer"),
        ("prometheus", "/dashboards/collector", "Prometheus does not answer"),
    ],
)
def test_a_part_that_is_down_is_reported_on_the_page(
    part: str, path: str, words: str, open_page: Opener, stack: Stack
) -> None:
    """The page is never blank and shows no stack trace."""
    stack.runtime.kill(part)
    try:
        expect(open_page(path).get_by_text(words)).to_be_visible(timeout=SOON)
    finally:
        stack.runtime.start(part)


@NATIVELY
def test_unknown_pages_and_ids_are_answered_in_words(open_page: Opener) -> None:
    """The page is never blank and shows no stack trace."""
    expect(open_page("/dashboards/nothing").get_by_text("there is no dashboard nothing")).to_be_visible()
    unknown = open_page(f"/traces/{'0' * 31}1")
    expect(unknown.get_by_text("Jaeger has no trace")).to_be_visible(timeout=SOON)
    odd = open_page("/traces/<b>no id")
    expect(odd.locator(".card").first).to_contain_text("Jaeger", timeout=SOON)


@NATIVELY
def test_a_browser_of_another_site_cannot_press_the_buttons(console: str) -> None:
    """Its Origin is rejected in the handshake of the buttons' websocket."""
    handshake = f"{console}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    foreign = httpx.get(handshake, headers={"origin": "http://evil.example"}, trust_env=False)
    assert foreign.status_code == httpx.codes.FORBIDDEN
    own = httpx.get(handshake, headers={"origin": console}, trust_env=False)
    assert own.status_code != httpx.codes.FORBIDDEN
