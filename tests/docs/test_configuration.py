"""docs/configuration.md describes the settings as they are."""

from docs.generate import PAGE, page
from telemetry.config import TelemetryConfig


def test_page_is_what_the_settings_say() -> None:
    """`make docs` generates it."""
    assert PAGE.read_text() == page()


def test_every_setting_has_a_row_with_its_variables_and_a_sentence() -> None:
    """Nothing is left out, and no description is missing."""
    rows = [row.split("|")[1:-1] for row in page().splitlines() if row.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == list(TelemetryConfig.model_fields)
    assert all(row[4].strip().endswith(".") for row in rows)
    named = {variable.strip(" `") for row in rows for variable in row[0].split(",")}
    assert named == TelemetryConfig.variables().keys()
