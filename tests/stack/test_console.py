"""The console in a real browser, on the real stack: break it with its own buttons, and watch.

In containers: what acts on them, and what a page says of the runtime; a page's look, and what it reads from
services, Jaeger and Prometheus, is the same there. Screenshots are left in `reports/screenshots/`.
"""

import re
import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console
from support.running_stack import NATIVELY, Stack

from console.charts import bands
from stack.canary import order_one
from stack.console_page import ConsolePage
from stack.settings import ROOT

pytestmark = pytest.mark.timeout(3600)

SCREENSHOTS = ROOT / "reports" / "screenshots"
PHONE, DESK = {"width": 375, "height": 800}, {"width": 1600, "height": 1000}
SOON, LATER = 15_000, 120_000
"""Milliseconds."""
_TRIES = 5


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
def open_page(browser: Browser, console: str) -> Iterator["Opener"]:
    """Opens pages; at the end none of them has complained, or asked anybody but this machine."""
    opener = Opener(browser, console)
    yield opener
    opener.close()
    assert not opener.complaints


class Opener:
    """Pages of one test."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        self._address = address
        self._pages: list[Page] = []
        self.complaints: list[str] = []

    def __call__(self, path: str, *, size: dict[str, int] = DESK, scheme: str = "light") -> Page:
        """Opens one."""
        page = self._browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        page.on("request", lambda request: self._see(request.url))
        self._pages.append(page)
        page.goto(f"{self._address}{path}")
        for _ in range(_TRIES):
            if page.get_by_role("heading", level=1).count():
                break
            # Containers that come and go change this machine's networks, and the browser drops what it loads.
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
        """Closes them."""
        for page in self._pages:
            page.close()


def keep(page: Page, name: str) -> None:
    """A screenshot of the whole page, as a file."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def figure(page: Page, name: str) -> float:
    """One of the large numbers; -1 while it is not known."""
    text = page.locator(f'[data-figure="{name}"]').inner_text()
    found = re.search(r"[\d,.]+", text)
    return float(found[0].replace(",", "")) if found else -1


def wait_for_figure(page: Page, stack: Stack, name: str, at_least: float, *, at_most: float = 1e12) -> None:
    """Until the number is within these."""
    stack.wait(
        f"{name} from {at_least:g} to {at_most:g}",
        lambda: page.wait_for_timeout(200) or at_least <= figure(page, name) <= at_most,
        seconds=LATER / 1000,
    )


def tune(stack: Stack, **override: float) -> None:
    """Asks both services, past the page, until it is in effect: their answer may be a moment ahead of it."""
    for port in (stack.settings.storefront_port, stack.settings.inventory_port):
        httpx.put(f"http://127.0.0.1:{port}/tuning", json=override, trust_env=False).raise_for_status()
    if (size := override.get("batch_size")) is not None:
        wait_for_batch(stack, size)


def wait_for_batch(stack: Stack, size: float) -> None:
    """Until the storefront makes batches of this size."""
    stack.wait(f"batches of {size:g}", lambda: stack.health()["batch"]["size"] == size, seconds=15)


def test_collector_is_killed_and_started_with_the_pages_own_buttons(
    open_page: "Opener", stack: Stack
) -> None:
    """Breaker opens, the spool grows, it drains; and the trace of an order made meanwhile is found."""
    page = open_page("/")
    expect(page.get_by_text("breaker closed")).to_have_count(2, timeout=SOON)
    page.get_by_role("button", name=re.compile("Burst")).click()
    wait_for_figure(page, stack, "requests/s", 20)
    page.get_by_role("button", name="Kill Collector").click()
    expect(page.locator(".node.down")).to_have_count(1, timeout=SOON)
    expect(page.get_by_text(re.compile("breaker (open|half open)"))).to_have_count(2, timeout=LATER)
    trace_id = order_one(stack.settings)
    wait_for_figure(page, stack, "spans waiting", 500)
    assert stack.health()["ledger"]["spooled"] > 0
    page.wait_for_timeout(3_000)  # for the picture: some seconds of it
    keep(page, f"{stack.runtime.kind}-outage")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("breaker closed")).to_have_count(2, timeout=LATER)
    wait_for_figure(page, stack, "spans waiting", 0, at_most=400)
    assert figure(page, "spans lost") == 0
    page.wait_for_timeout(3_000)
    keep(page, f"{stack.runtime.kind}-recovery")
    stack.wait_for_trace(trace_id, seconds=30)
    trace = open_page(f"/traces/{trace_id}")
    expect(trace.get_by_text("POST /orders").first).to_be_visible(timeout=SOON)
    expect(trace.locator(".chip", has_text="inventory")).to_have_count(1)
    trace.locator(".span").first.click()
    expect(trace.get_by_text("http.route").first).to_be_visible(timeout=SOON)
    trace.wait_for_timeout(700)  # until it has unfolded
    keep(trace, f"{stack.runtime.kind}-trace")


def test_a_frozen_collector_is_shown_frozen_and_goes_on(open_page: "Opener", stack: Stack) -> None:
    """It is neither up nor down."""
    page = open_page("/")
    button = page.get_by_role("button", name="Freeze")
    expect(button).to_be_enabled(timeout=SOON)
    button.click()
    try:
        expect(page.locator(".node.paused")).to_have_count(1, timeout=SOON)
        page.get_by_role("button", name="Start").click()
        expect(page.locator(".node.up")).to_have_count(4, timeout=SOON)
    finally:
        stack.runtime.resume("collector")


@NATIVELY
def test_sliders_change_the_running_services_by_keyboard(open_page: "Opener", stack: Stack) -> None:
    """In effect at once, and shown."""
    before = stack.health()["batch"]["size"]
    page = open_page("/")
    slider = page.get_by_role("slider", name="batch size")
    expect(page.locator('[data-setting="batch_size"]')).to_have_text(f"{before} spans", timeout=SOON)
    try:
        slider.locator('[tabindex="0"]').press("ArrowLeft")
        stack.wait("a smaller batch", lambda: stack.health()["batch"]["size"] < before, seconds=15)
        now = stack.health()["batch"]["size"]
        expect(page.locator('[data-setting="batch_size"]')).to_have_text(f"{now} spans", timeout=SOON)
        expect(slider).to_have_attribute("aria-valuetext", f"{now} spans")
    finally:
        tune(stack, batch_size=before)


@NATIVELY
def test_a_slider_that_is_dragged_quickly_sets_what_it_was_left_at(open_page: "Opener", stack: Stack) -> None:
    """Not what it passed on its way; and then it follows what is in effect again."""
    before = stack.health()["batch"]["size"]
    page = open_page("/")
    slider, setting = (
        page.get_by_role("slider", name="batch size"),
        page.locator('[data-setting="batch_size"]'),
    )
    expect(setting).to_have_text(f"{before} spans", timeout=SOON)
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    try:
        for share, size in ((0.03, 1), (0.97, 2048)):
            page.mouse.move(box["x"] + box["width"] * 0.5, middle)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * share, middle, steps=2)
            page.mouse.up()
            page.wait_for_timeout(1_000)  # what was held back has come by then
            wait_for_batch(stack, size)
        tune(stack, batch_size=77)
        expect(setting).to_have_text("77 spans", timeout=SOON)
    finally:
        tune(stack, batch_size=before)


@NATIVELY
def test_search_finds_failed_requests_only_when_asked(open_page: "Opener", stack: Stack) -> None:
    """By errors, and by what is not there."""
    httpx.put(f"{stack.storefront}/faults", json={"error_rate": 1}, trust_env=False)
    httpx.get(f"{stack.storefront}/products", trust_env=False)
    httpx.put(f"{stack.storefront}/faults", json={}, trust_env=False)
    page = open_page("/traces")

    def finds_failed() -> bool:
        page.get_by_role("button", name="Search").click()
        page.wait_for_timeout(500)
        return page.locator(".trace.failed").count() > 0

    expect(page.locator(".trace").first).to_be_visible(timeout=SOON)
    page.get_by_text("with errors only").click()
    stack.wait("a failed trace", finds_failed, seconds=30)
    assert page.locator(".trace").count() == page.locator(".trace.failed").count()
    keep(page, f"{stack.runtime.kind}-traces")


CALM = 0.005
"""Cumulative layout shift; the web's own limit for a good page is 0.1."""
_LAYOUT_SHIFT = """() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => { for (const shift of list.getEntries()) sum += shift.value; })
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => resolve(sum), 1000);
})"""


def test_the_name_of_a_band_is_text_where_it_is_hovered(browser: Browser) -> None:
    """A label of a metric, which anybody may have pushed."""
    page = browser.new_page()
    name = "<img src=x onerror='alert(1)'> & co"
    shown = page.evaluate(
        f"name => {{ document.body.innerHTML = ({bands([], [])['tooltip'][':formatter']})({{name}});"
        " return [document.body.textContent, document.body.children.length]; }",
        name,
    )
    assert shown == [name, 0]
    page.close()


PATHS = ("/", "/traces", "/dashboards/service", "/doctor")
PAGES = [
    *(
        pytest.param("native", path, scheme, marks=pytest.mark.stack)
        for path in PATHS
        for scheme in ("light", "dark")
    ),
    # With links that only containers have, and the doctor's words on them.
    *(pytest.param("compose", path, "light", marks=pytest.mark.compose) for path in PATHS),
]


@pytest.mark.parametrize(("stack", "path", "scheme"), PAGES, indirect=["stack"])
def test_pages_fit_a_phone_and_a_desk(path: str, scheme: str, open_page: "Opener", stack: Stack) -> None:
    """Nothing is cut off at the side, and nothing jumps while figures come, in either scheme."""
    for name, size in (("phone", PHONE), ("desk", DESK)):
        page = open_page(path, size=size, scheme=scheme)
        expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=SOON)
        page.wait_for_timeout(2_500)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate(_LAYOUT_SHIFT) < CALM
        is_dark = page.evaluate("document.body.classList.contains('body--dark')")
        assert is_dark is (scheme == "dark")
        keep(page, f"{stack.runtime.kind}-{path.strip('/').replace('/', '-') or 'live'}-{scheme}-{name}")


@NATIVELY
@pytest.mark.parametrize("uid", ["service", "telemetry-pipeline", "collector", "load-test"])
def test_every_panel_of_a_dashboard_is_drawn(uid: str, open_page: "Opener", stack: Stack) -> None:
    """Grafana's own, from Prometheus; empty ones say so."""
    order_one(stack.settings)
    page = open_page(f"/dashboards/{uid}")
    panels = page.locator("[data-panel]")
    expect(panels.first).to_be_visible(timeout=SOON)
    expect(page.get_by_text("…", exact=True)).to_have_count(0, timeout=SOON)
    titles = panels.evaluate_all("boxes => boxes.map(box => box.dataset.panel)")
    assert len(titles) > 10
    assert page.locator("[data-panel] canvas").count() > 5
    assert page.get_by_text("Prometheus refuses").count() == 0
    keep(page, f"{stack.runtime.kind}-dashboard-{uid}")


_LAST_DOT = """box => {
  const chart = getElement(Number(box.id.slice(1))).chart, series = chart.getOption().series;
  const index = series.findIndex(one => one.type === "scatter");
  if (index < 0) return null;
  const dot = series[index].data.at(-1);
  const [x, y] = chart.convertToPixel({seriesIndex: index}, dot.value);
  return {x, y};
}"""
"""Where a chart's latest exemplar is drawn."""


@NATIVELY
def test_a_dot_among_latencies_opens_its_trace(open_page: "Opener", stack: Stack) -> None:
    """The exemplar that Prometheus keeps with the latencies."""
    order_one(stack.settings)
    page = open_page("/dashboards/service")
    chart = page.locator('[data-panel="Latency"] .chart')
    chart.scroll_into_view_if_needed()

    def opens() -> bool:
        # The chart moves on every few seconds: looked for anew for each press.
        dot = chart.evaluate(_LAST_DOT)
        if dot is not None:
            chart.click(position={"x": dot["x"], "y": dot["y"]})
        page.wait_for_timeout(2_000)
        return "/traces/" in page.url

    stack.wait("an exemplar's trace", opens, seconds=30)
    expect(page.locator(".span").first).to_be_visible(timeout=SOON)


@NATIVELY
def test_a_row_of_slow_requests_searches_its_traces(open_page: "Opener", stack: Stack) -> None:
    """Of that service and operation, and of nothing else."""
    order_one(stack.settings)
    page = open_page("/dashboards/service")
    row = page.locator('[data-panel="Slow and failing requests"] tr', has_text="POST")
    row.get_by_role("link", name="/orders", exact=True).click(timeout=LATER)
    page.wait_for_url("**/traces?service=storefront&operation=POST*", timeout=SOON)
    expect(page.get_by_label("operation")).to_have_value("POST /orders", timeout=SOON)
    expect(page.locator(".trace").first).to_be_visible(timeout=SOON)
    titles = page.locator(".trace .card-title").all_inner_texts()
    assert {title for title in titles if ":" in title} == {"storefront: POST /orders"}


def test_doctor_says_what_to_do(open_page: "Opener", stack: Stack) -> None:
    """Of a part that is down; and once it is well again, that it is."""
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
def test_a_part_that_is_down_is_told_on_the_page(
    part: str, path: str, words: str, open_page: "Opener", stack: Stack
) -> None:
    """Never a blank page or a stack trace."""
    stack.runtime.kill(part)
    try:
        expect(open_page(path).get_by_text(words)).to_be_visible(timeout=SOON)
    finally:
        stack.runtime.start(part)


@NATIVELY
@pytest.mark.parametrize("path", ["/traces", f"/traces/{'a' * 32}"])
def test_a_jaeger_that_is_frozen_keeps_no_page_away(path: str, open_page: "Opener", stack: Stack) -> None:
    """The page is there at once, and says so when it has waited for long enough."""
    stack.runtime.pause("jaeger")
    try:
        page = open_page(path)
        expect(page.get_by_text("asking Jaeger")).to_be_visible(timeout=SOON)
        expect(page.get_by_text("Jaeger does not answer (ReadTimeout)")).to_be_visible(timeout=SOON)
    finally:
        stack.runtime.resume("jaeger")


@NATIVELY
def test_unknown_pages_and_ids_are_answered_in_words(open_page: "Opener") -> None:
    """Never a blank page or a stack trace."""
    expect(open_page("/dashboards/nothing").get_by_text("there is no dashboard nothing")).to_be_visible()
    unknown = open_page(f"/traces/{'0' * 31}1")
    expect(unknown.get_by_text("Jaeger has no trace")).to_be_visible(timeout=SOON)
    odd = open_page("/traces/<b>no id")
    expect(odd.locator(".card").first).to_contain_text("Jaeger", timeout=SOON)


@NATIVELY
def test_a_browser_of_another_site_cannot_press_the_buttons(console: str) -> None:
    """Its Origin is turned away where the buttons' websocket begins."""
    handshake = f"{console}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    foreign = httpx.get(handshake, headers={"origin": "http://evil.example"}, trust_env=False)
    assert foreign.status_code == httpx.codes.FORBIDDEN
    own = httpx.get(handshake, headers={"origin": console}, trust_env=False)
    assert own.status_code != httpx.codes.FORBIDDEN
