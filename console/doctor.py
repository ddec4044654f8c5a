"""The page "Doctor": each part, what is wrong, and what to do."""

import asyncio

from nicegui import ui

from console.frame import frame
from stack.doctor import examine
from stack.runtime import Runtime
from stack.settings import StackSettings


def add_doctor_page(settings: StackSettings, runtime: Runtime) -> None:
    """Adds the page at `/doctor`.

    Args:
        settings: the stack's settings.
        runtime: the runtime that it runs in.
    """

    @ui.page("/doctor", title="telemetry: doctor")
    async def doctor() -> None:
        with frame("Doctor"):
            ui.label("The same as `make doctor`.").classes("hint")
            again = ui.button("Look again", icon="refresh").props("no-caps flat dense")
            findings = ui.element("section").classes("findings")
            findings.props('aria-label="Findings" aria-live="polite"')

        async def look() -> None:
            again.disable()
            try:
                found = await asyncio.to_thread(examine, settings, runtime, "this page's stack")
            finally:
                again.enable()
            findings.clear()
            with findings:
                for finding in found:
                    with ui.element("div").classes("card finding"):
                        ui.label(finding.severity.value).classes(f"card-title {finding.severity}")
                        ui.label(f"{finding.subject}: {finding.what}").style("overflow-wrap: anywhere")
                        if finding.remedy:
                            ui.label(finding.remedy).classes("mono remedy")

        again.on_click(look)
        ui.timer(0.01, look, once=True)
