"""Types of settings whose variables need more than pydantic's own parsing.

An unusable value raises a `ValueError` with the rule; `TelemetryConfig` adds the variable and the value.
"""

import re
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, FiniteFloat, ValidationInfo
from pydantic_settings import NoDecode

from .endpoint import check_endpoint

_SAMPLERS_ELSEWHERE = ("jaeger_remote", "parentbased_jaeger_remote", "xray")


def refuse_samplers_of_other_languages(name: object) -> object:
    """Returns a sampler's name unchanged.

    Raises:
        ValueError: it is a standard sampler that Python does not have.
    """
    if name in _SAMPLERS_ELSEWHERE:
        raise ValueError("that sampler does not exist for Python; use parentbased_traceidratio")
    return name


def read_pairs(value: object) -> object:
    """Parses `key=value,key2=value2`, percent-encoded as the specification says, into a dict.

    Raises:
        ValueError: an entry is not a pair; the message gives only its position, since it may be a secret.
    """
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for position, item in enumerate(filter(None, (part.strip() for part in value.split(","))), start=1):
        key, separator, text = item.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"entry {position} is not key=value (entries are separated by commas)")
        pairs[unquote(key.strip())] = unquote(text.strip())
    return pairs


def read_list(value: object) -> object:
    """Parses `a,b` into a tuple."""
    if not isinstance(value, str):
        return value
    return tuple(filter(None, (part.strip() for part in value.split(","))))


def read_folder(value: object) -> object:
    """Makes a path absolute, so that a service that changes its directory keeps its files in place.

    Raises:
        ValueError: it begins with `~`, and no home directory is known.
    """
    if not isinstance(value, str | Path):
        return value
    text = str(value).strip()
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError:
        raise ValueError("the home directory that ~ stands for is not known") from None


def read_boolean(value: object) -> object:
    """Parses a standard Boolean: only `true`, in any case, is true (OpenTelemetry specification)."""
    return value.strip().lower() == "true" if isinstance(value, str) else value


def check_address(value: str, info: ValidationInfo) -> str:
    """Returns an endpoint in the form in which it is used; the protocol, declared before it, has its rules.

    Raises:
        ValueError: it cannot be used.
    """
    protocol = info.data.get("protocol")
    return value if protocol is None else check_endpoint(value, protocol)


def check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Returns excluded paths unchanged.

    Raises:
        ValueError: one is not a path.
    """
    for path in paths:
        if not path.startswith("/") or "*" in path[:-1]:
            raise ValueError(f"{path!r} is not a path: it starts with / and may end in * only")
    return paths


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Returns names or regular expressions unchanged.

    Raises:
        ValueError: one is no regular expression.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"{pattern!r} is no name and no regular expression: {error} (a comma separates two of them)"
            ) from None
    return patterns


def check_buckets(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Returns the bounds of a histogram's buckets unchanged.

    Raises:
        ValueError: they are not positive and ascending, or there is none.
    """
    if not bounds or bounds[0] <= 0 or any(low >= high for low, high in pairwise(bounds)):
        raise ValueError("give positive numbers of milliseconds, each above the one before, as in 5,50,500")
    return bounds


def check_file(file: str) -> str:
    """Returns a file's name unchanged.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return file


def check_authority(file: str) -> str:
    """Returns the name of an authority's certificate file unchanged.

    Raises:
        ValueError: the file cannot be read, or holds no certificate.
    """
    check_file(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError as error:
        raise ValueError(f"the file holds no certificate in PEM form ({error.reason})") from None
    return file


def _unless_empty(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: check(value) if value else value


def check_client_certificate(certificate: str | None, key: str | None) -> None:
    """Checks the two mTLS files together.

    Raises:
        ValueError: one is missing, or they are not a pair.
    """
    if (key is None) != (certificate is None):
        raise ValueError(
            "mTLS needs both OTEL_EXPORTER_OTLP_CLIENT_KEY and OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
        )
    if certificate is None:
        return
    try:
        # Without a password, a key with a passphrase would prompt for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE ({certificate}) and "
            f"OTEL_EXPORTER_OTLP_CLIENT_KEY ({key}) are no pair in PEM form without a "
            f"passphrase ({error.reason})"
        ) from None


StandardBoolean = Annotated[bool, BeforeValidator(read_boolean)]
Pairs = Annotated[dict[str, str], NoDecode, BeforeValidator(read_pairs)]
OptionalPairs = Annotated[dict[str, str] | None, NoDecode, BeforeValidator(read_pairs)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_list)]
Paths = Annotated[Names, AfterValidator(check_paths)]
Patterns = Annotated[Names, AfterValidator(check_patterns)]
Buckets = Annotated[
    tuple[FiniteFloat, ...], NoDecode, BeforeValidator(read_list), AfterValidator(check_buckets)
]
Folder = Annotated[Path | None, BeforeValidator(read_folder)]
Address = Annotated[str, AfterValidator(check_address)]
TlsFile = Annotated[str, AfterValidator(check_file)]
Authority = Annotated[str, AfterValidator(check_authority)]
OwnTlsFile = Annotated[str, AfterValidator(_unless_empty(check_file))]
"""Of one signal; empty for none, whatever the general one is."""
OwnAuthority = Annotated[str, AfterValidator(_unless_empty(check_authority))]
"""The same."""
SamplerName = Annotated[
    Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
        "rate_limited",
    ],
    BeforeValidator(refuse_samplers_of_other_languages),
]
