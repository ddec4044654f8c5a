"""The demo services: the only table of their names and ports."""

from dataclasses import dataclass

from stack.settings import HOST, StackSettings


@dataclass(frozen=True, slots=True)
class Service:
    """One demo service."""

    name: str
    purpose: str

    @property
    def port_variable(self) -> str:
        """The variable that sets its port."""
        return f"{self.name.upper()}_PORT"

    def port(self, settings: StackSettings) -> int:
        """Returns the port that it listens on, on this machine."""
        port: int = getattr(settings, self.port_variable.lower())
        return port

    def url(self, settings: StackSettings) -> str:
        """Returns its URL on this machine."""
        return f"http://{HOST}:{self.port(settings)}"


STOREFRONT = Service("storefront", "the demo shop: products and orders")
INVENTORY = Service("inventory", "its stock and reservations")
SERVICES = (STOREFRONT, INVENTORY)
SERVICE_NAMES = tuple(service.name for service in SERVICES)


def urls_of_services(settings: StackSettings) -> dict[str, str]:
    """Returns the URL of each service by its name."""
    return {service.name: service.url(settings) for service in SERVICES}
