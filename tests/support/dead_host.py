"""The spool of a dead host, as an operator finds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from support.spool_rig import SPANS

from telemetry.export.otlp.spans import Encoder

Run = Callable[..., tuple[int, str, str]]
"""Runs a command; returns its exit status, and what it wrote to both outputs."""


def names(*prefixes: str) -> list[str]:
    """Returns the names of the spans in the batches with these prefixes."""
    return [f"{prefix} {number}" for prefix in prefixes for number in range(SPANS)]


def encoded(prefix: str) -> bytes:
    """Returns an encoded batch."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    spans: list[Any] = [tracer.start_span(name) for name in names(prefix)]
    for span in spans:
        span.end()
    return Encoder().encode(spans).payload


def files(folder: Path) -> dict[Path, bytes]:
    """Returns every file below a folder with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damage_last(folder: Path) -> None:
    """Flips a bit in the last payload of the only segment below a folder."""
    (file,) = folder.rglob("*.seg")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
