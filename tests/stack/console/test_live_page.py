"""The page "Live" in a real browser, on the real stack: break it with its own buttons, and watch.

Screenshots are left in `reports/screenshots/`. The console's tests run in containers only where that
matters: for actions on the parts, and where a page shows the runtime. The rest is the same there.
"""

import re

import pytest
from playwright.sync_api import expect
from support.console_pages import LATER, SOON, Opener, figure, keep, tune, wait_for_batch, wait_for_figure
from support.running_stack import NATIVELY, Stack

from stack.canary import order_one

pytestmark = pytest.mark.timeout(3600)


def test_collector_is_killed_and_started_with_the_pages_own_buttons(open_page: Opener, stack: Stack) -> None:
    """The breaker opens, the spool grows and drains, and the trace of an order made meanwhile is found."""
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
    expect(trace.get_by_text("POST /v1/orders").first).to_be_visible(timeout=SOON)
    expect(trace.locator(".chip", has_text="inventory")).to_have_count(1)
    trace.locator(".span").first.click()
    expect(trace.get_by_text("http.route").first).to_be_visible(timeout=SOON)
    trace.wait_for_timeout(700)  # until it has unfolded
    keep(trace, f"{stack.runtime.kind}-trace")


def test_a_frozen_collector_is_shown_frozen_and_goes_on(open_page: Opener, stack: Stack) -> None:
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
def test_sliders_change_the_running_services_by_keyboard(open_page: Opener, stack: Stack) -> None:
    """The change takes effect at once, and is shown."""
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
def test_a_slider_that_is_dragged_quickly_sets_what_it_was_left_at(open_page: Opener, stack: Stack) -> None:
    """Values on its way are not set, and afterwards it follows the value in effect again."""
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
            page.wait_for_timeout(1_000)  # delayed updates have arrived by then
            wait_for_batch(stack, size)
        tune(stack, batch_size=77)
        expect(setting).to_have_text("77 spans", timeout=SOON)
    finally:
        tune(stack, batch_size=before)
