"""What the library raises, at start-up only: never inside a request."""


class TelemetryError(Exception):
    """Base of every error this library raises."""


class ConfigurationError(TelemetryError, ValueError):
    """A setting has a value that cannot be used; the message names variable, value and rule."""
