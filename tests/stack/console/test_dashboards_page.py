"""The page "Dashboards" in a real browser, on the real stack."""

import pytest
from playwright.sync_api import Browser, expect
from support.console_pages import LATER, SOON, Opener, keep
from support.running_stack import NATIVELY, Stack

from console.charts import bands
from stack.canary import order_one

pytestmark = pytest.mark.timeout(3600)


def test_the_name_of_a_band_is_text_where_it_is_hovered(browser: Browser) -> None:
    """It may be the label of a metric that anybody pushed."""
    page = browser.new_page()
    name = "<img src=x onerror='alert(1)'> & co"
    shown = page.evaluate(
        f"name => {{ document.body.innerHTML = ({bands([], [])['tooltip'][':formatter']})({{name}});"
        " return [document.body.textContent, document.body.children.length]; }",
        name,
    )
    assert shown == [name, 0]
    page.close()


@NATIVELY
@pytest.mark.parametrize("uid", ["service", "telemetry-pipeline", "collector", "load-test"])
def test_every_panel_of_a_dashboard_is_drawn(uid: str, open_page: Opener, stack: Stack) -> None:
    """The panels are Grafana's own, with data from Prometheus; empty ones say so."""
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
def test_a_dot_among_latencies_opens_its_trace(open_page: Opener, stack: Stack) -> None:
    """The dot is the exemplar that Prometheus keeps with the latencies."""
    order_one(stack.settings)
    page = open_page("/dashboards/service")
    chart = page.locator('[data-panel="Latency"] .chart')
    chart.scroll_into_view_if_needed()

    def opens() -> bool:
        # The chart moves on every few seconds, so the dot is located again for each click.
        dot = chart.evaluate(_LAST_DOT)
        if dot is not None:
            chart.click(position={"x": dot["x"], "y": dot["y"]})
        page.wait_for_timeout(2_000)
        return "/traces/" in page.url

    stack.wait("an exemplar's trace", opens, seconds=30)
    expect(page.locator(".span").first).to_be_visible(timeout=SOON)


@NATIVELY
def test_a_row_of_slow_requests_searches_its_traces(open_page: Opener, stack: Stack) -> None:
    """Only traces of that service and operation are found."""
    order_one(stack.settings)
    page = open_page("/dashboards/service")
    row = page.locator('[data-panel="Slow and failing requests"] tr', has_text="POST")
    row.get_by_role("link", name="/v1/orders", exact=True).click(timeout=LATER)
    page.wait_for_url("**/traces?service=storefront&operation=POST*", timeout=SOON)
    expect(page.get_by_label("operation")).to_have_value("POST /v1/orders", timeout=SOON)
    expect(page.locator(".trace").first).to_be_visible(timeout=SOON)
    titles = page.locator(".trace .card-title").all_inner_texts()
    assert {title for title in titles if ":" in title} == {"storefront: POST /v1/orders"}
