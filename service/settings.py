"""The shop's settings, read from the environment."""

from pathlib import Path

from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEMO_API_KEY = "demo"
"""The key that works out of the box: no secret, like everything else in the demo."""


class ShopSettings(BaseSettings):
    """The shop's settings, read once per process; an empty variable counts as unset.

    Raises:
        pydantic.ValidationError: a value is malformed; the message names the variable, rule and value.
    """

    model_config = SettingsConfigDict(
        frozen=True, case_sensitive=True, env_ignore_empty=True, populate_by_name=True
    )

    environment: str = Field(default="production", validation_alias="ENVIRONMENT")
    """`development` enables faults and tuning on demand; leaving it unset is safe."""

    api_key: SecretStr = Field(default=SecretStr(DEMO_API_KEY), validation_alias="SHOP_API_KEY")
    """What writes must present as a bearer token; the storefront presents it to the inventory."""

    database_dir: Path = Field(default=Path(".stack/shop"), validation_alias="SHOP_DATABASE_DIR")
    """Folder of the SQLite files, created if missing; all workers of a service must share it."""

    inventory_url: HttpUrl = Field(default=HttpUrl("http://127.0.0.1:8001"), validation_alias="INVENTORY_URL")
    """Where the storefront finds the inventory."""

    inventory_timeout_seconds: float = Field(
        default=2.0, gt=0, le=60, validation_alias="SHOP_INVENTORY_TIMEOUT_SECONDS"
    )
    """How long a shopper waits for the inventory before the storefront answers 503."""

    @property
    def is_development(self) -> bool:
        """Whether faults and tuning on demand are enabled."""
        return self.environment == "development"
