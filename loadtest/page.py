"""A report as a single page that needs no network: verdicts, pictures and tables."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from loadtest.pictures import as_svg
from loadtest.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page."""

    title: str
    figure: Figure
    text: str = ""

    @property
    def svg(self) -> str:
        """The picture as an SVG element."""
        return as_svg(self.figure)


@dataclass(frozen=True, slots=True)
class PageTable:
    """One table of a page."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_code: bool = False
    """Whether the first column holds identifiers."""


def write_page(
    path: Path,
    *,
    title: str,
    summary: str,
    verdicts: Sequence[Verdict],
    pictures: Sequence[Picture],
    tables: Sequence[PageTable],
) -> None:
    """Writes the page; all text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        summary=summary,
        verdicts=verdicts,
        pictures=pictures,
        tables=tables,
        made=describe_machine(),
    )
    path.write_text(page)


def describe_machine() -> str:
    """Describes the time and the machine, without which figures mean little."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({_processor()}), "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
