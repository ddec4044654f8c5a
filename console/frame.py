"""The frame of every page: the header with links to the other pages, the colours, and the content's place."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui

PAGES = {"/": "Live", "/traces": "Traces", "/dashboards": "Dashboards", "/doctor": "Doctor"}
_STYLE = (Path(__file__).parent / "style.css").read_text()


@contextmanager
def frame(title: str) -> Iterator[None]:
    """Builds a page around its content.

    Args:
        title: one of the titles in `PAGES`.
    """
    ui.add_css(_STYLE)
    dark = ui.dark_mode(value=None)
    ui.html('<a class="skip" href="#content">to the content</a>', sanitize=False)
    with ui.element("header").classes("head"):
        ui.label("telemetry").classes("brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for path, name in PAGES.items():
                link = ui.link(name, path)
                if name == title:
                    link.props('aria-current="page"')
        scheme = ui.button(icon="contrast", on_click=lambda: _turn(dark))
        scheme.props('flat round dense aria-label="Dark or light"')
    # Inside the <main> that NiceGUI creates.
    with ui.element("div").props('id="content"'):
        ui.html(f"<h1>{title}</h1>", sanitize=False).classes("title")
        yield


def _turn(dark: ui.dark_mode) -> None:
    dark.value = {None: True, True: False, False: None}[dark.value]
    ui.notify({None: "as the system", True: "dark", False: "light"}[dark.value], position="top")
