"""Fixtures for a service whose requests are traced."""

from typing import Any

import pytest
from support.shop_app import shop_config

from telemetry.config import TelemetryConfig


@pytest.fixture
def config(receiver: Any) -> TelemetryConfig:
    """Settings of a service that sends to the receiver and answers with traceresponse."""
    return shop_config(receiver)
