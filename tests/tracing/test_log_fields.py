"""The record factory among those of others."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from telemetry.tracing.log_fields import add_log_fields, remove_log_fields


@pytest.fixture(autouse=True)
def usual_factory() -> Iterator[None]:
    """Restores the factory afterwards."""
    before = logging.getLogRecordFactory()
    yield
    remove_log_fields()
    logging.setLogRecordFactory(before)


def make() -> logging.LogRecord:
    """Makes a record."""
    return logging.getLogRecordFactory()("shop", logging.INFO, "x.py", 1, "message", (), None)


def has_fields() -> bool:
    """Whether a record has all four of them."""
    names = ("otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName")
    return all(hasattr(make(), name) for name in names)


def test_fields_are_added_once_and_removed() -> None:
    """The factory of before is the process's again."""
    before = logging.getLogRecordFactory()
    assert add_log_fields(lambda: "shop")
    assert not add_log_fields(lambda: "other")
    assert make().otelServiceName == "shop"  # type: ignore[attr-defined]
    assert has_fields()
    remove_log_fields()
    assert not has_fields()
    assert logging.getLogRecordFactory() is before


def test_factory_of_others_stays() -> None:
    """One that an application has put around ours, before the fields are removed and added again."""
    add_log_fields(lambda: "shop")
    inner = logging.getLogRecordFactory()

    def own(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = inner(*args, **kwargs)
        record.own = True
        return record

    logging.setLogRecordFactory(own)
    remove_log_fields()
    assert not has_fields()
    assert make().own  # type: ignore[attr-defined]
    assert add_log_fields(lambda: "shop")
    assert has_fields()
    assert make().own  # type: ignore[attr-defined]
