"""Waiting for other threads and processes."""

import threading
import time
from collections.abc import Callable

import pytest

Until = Callable[..., None]
"""The type of the fixture `until`."""


def wait_until(what: str, is_true: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until something is true; the failure names what was waited for."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain for: {what}")
        threading.Event().wait(0.005)
