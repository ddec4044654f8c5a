"""What the shop reads from the environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import DEMO_API_KEY, ShopSettings

VARIABLES = (
    *("ENVIRONMENT", "SHOP_DATABASE_DIR", "SHOP_API_KEY"),
    *("INVENTORY_URL", "SHOP_INVENTORY_TIMEOUT_SECONDS"),
)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the developer's own settings out."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_environment() -> None:
    """Started by hand, the services find each other."""
    settings = ShopSettings()

    assert str(settings.inventory_url) == "http://127.0.0.1:8001/"
    assert settings.database_dir == Path(".stack/shop")


def test_key_is_in_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed; an empty key counts as none set."""
    monkeypatch.setenv("SHOP_API_KEY", "hush")
    assert "hush" not in repr(ShopSettings())
    monkeypatch.setenv("SHOP_API_KEY", "")
    assert ShopSettings().api_key.get_secret_value() == DEMO_API_KEY


@pytest.mark.parametrize(
    ("environment", "is_development"),
    [("development", True), ("staging", False), ("production", False), ("", False), ("Development", False)],
)
def test_only_development_has_faults(
    monkeypatch: pytest.MonkeyPatch, environment: str, *, is_development: bool
) -> None:
    """Any other value, even an empty one, is safe."""
    monkeypatch.setenv("ENVIRONMENT", environment)

    assert ShopSettings().is_development is is_development


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INVENTORY_URL", "inventory:8001"),
        ("SHOP_INVENTORY_TIMEOUT_SECONDS", "soon"),
        ("SHOP_INVENTORY_TIMEOUT_SECONDS", "0"),
    ],
)
def test_malformed_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The error says which variable and what it held."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValidationError) as raised:
        ShopSettings()
    assert variable in str(raised.value)
    assert repr(value) in str(raised.value)
