"""The head of a request over HTTP/1.1: target, host, and each header once, whatever its case."""

import logging
from collections.abc import Mapping
from urllib.parse import SplitResult, quote

from .proxy import DEFAULT_PORTS, Proxy, basic
from .response import PROTOBUF
from .user_agent import user_agent

logger = logging.getLogger(__name__)

_FRAMING = "the transport decides how a request is framed and a connection kept"
_OURS = {
    "accept-encoding": "answers are short, and asked for as they are",
    "connection": _FRAMING,
    "content-encoding": "OTEL_EXPORTER_OTLP_COMPRESSION decides on compression",
    "content-length": _FRAMING,
    "content-type": f"what is sent is {PROTOBUF}",
    "expect": _FRAMING,
    "keep-alive": _FRAMING,
    "proxy-authorization": "a proxy's credentials are given in its URL, as in HTTPS_PROXY",
    "proxy-connection": _FRAMING,
    "te": _FRAMING,
    "trailer": _FRAMING,
    "transfer-encoding": _FRAMING,
    "upgrade": _FRAMING,
}
"""Headers that would break the protocol if they were configured, each with the reason."""
_SAFE = "/?%:@!$&'()*+,;=~"
_told: set[str] = set()


def request_head(
    url: SplitResult, headers: Mapping[str, str], *, is_compressed: bool, proxy: Proxy | None
) -> bytes:
    """Returns the head of each request, up to the value of `Content-Length`, its last header.

    Configured headers that are the transport's own are left out, with one warning in a process; a configured
    `Host` stays, and a configured `User-Agent` goes in front of ours.

    Args:
        url: the endpoint; its credentials are sent unless an `Authorization` is configured.
        headers: the configured headers; of two that differ in case alone, the last one counts.
        is_compressed: whether bodies are sent with gzip.
        proxy: the proxy that reads the request; None if there is none, or only a tunnel through one.

    Raises:
        UnicodeError: the host's name or a header cannot be encoded.
    """
    # No port that goes without saying, and no credentials.
    port = None if url.port == DEFAULT_PORTS[url.scheme] else url.port
    authority = authority_of(url.hostname or "", port)
    sent = {"Host": authority, "Content-Type": PROTOBUF, "Accept-Encoding": "identity"}
    if is_compressed:
        sent["Content-Encoding"] = "gzip"
    if proxy is not None and proxy.authorization is not None:
        sent["Proxy-Authorization"] = proxy.authorization
    configured = {name.lower(): (name, value) for name, value in headers.items()}
    for name in configured.keys() & _OURS.keys():
        if configured.pop(name)[1] != sent.get(name.title()):
            _tell_once(name)
    if "host" in configured:
        del sent["Host"]
    if "authorization" not in configured and (url.username is not None or url.password is not None):
        sent["Authorization"] = basic(url.username or "", url.password or "")
    _, product = configured.pop("user-agent", ("", None))
    sent |= {"User-Agent": user_agent(product), **dict(configured.values())}
    target = quote(url.path or "/", safe=_SAFE) + (f"?{quote(url.query, safe=_SAFE)}" if url.query else "")
    if proxy is not None:
        target = f"{url.scheme}://{authority}{target}"
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")


def authority_of(host: str, port: int | None = None) -> str:
    """Returns host and port as `Host` and CONNECT have them (RFC 9110, 7.2).

    Raises:
        UnicodeError: the name is no international one.
    """
    host = host.rstrip(".")
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"  # a zone means nothing to the server
    elif not host.isascii():
        host = host.encode("idna").decode()
    return host if port is None else f"{host}:{port}"


def _tell_once(name: str) -> None:
    if name not in _told:
        _told.add(name)
        logger.warning("the export header %s is left out: %s", name, _OURS[name])
