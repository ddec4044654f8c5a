"""The User-Agent that both transports send."""

import re
import tomllib
from pathlib import Path

from telemetry.export.otlp.user_agent import USER_AGENT, user_agent

ROOT = Path(__file__).parents[3]


def test_user_agent_names_exporter_language_and_version() -> None:
    """It is one product of RFC 9110, 10.1.5, with the version of this library."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert user_agent() == USER_AGENT
    assert re.fullmatch(r"[\w.-]*OTLP-Exporter-Python[\w.-]*/" + re.escape(version), USER_AGENT)


def test_configured_product_goes_in_front() -> None:
    """Ours stays, as the specification asks; an empty one changes nothing."""
    assert user_agent("shop/1.2 (eu)") == f"shop/1.2 (eu) {USER_AGENT}"
    assert user_agent(" ") == user_agent("") == USER_AGENT
