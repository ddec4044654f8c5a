"""The library's exceptions, raised only at startup and never inside a request."""


class TelemetryError(Exception):
    """Base of every error this library raises."""


class ConfigurationError(TelemetryError, ValueError):
    """An unusable value of a setting; the message names the variable, the value and the rule."""
