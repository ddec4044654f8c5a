"""Where contrib's instrumentation and ours differ, and what makes ours right.

`DIFFERENCES` is the whole of it: `tests/request/test_conformance.py` fails for one that is missing, and for
one that is no more. Sources are documents of the OpenTelemetry semantic conventions unless they say
otherwise; what they ask for is told in short and in other words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.conformance.shapes import SHAPES

Seen = Mapping[str, Any]
OTHERS = "all others that differ"
SERVER = "http-spans.md, HTTP server span"


@dataclass(frozen=True, slots=True)
class Difference:
    """An attribute or a property of the span in which the two differ.

    Args:
        field: what differs.
        ours: our value by the shape's name, or a function of the whole span; None for no such attribute.
        why: what makes it right.
        source: who says so.
    """

    field: str
    ours: Mapping[str, Any]
    why: str
    source: str


def _name(seen: Seen) -> str:
    method, route = seen["http.request.method"], seen.get("http.route")
    verb = "HTTP" if method == "_OTHER" else method
    return verb if route is None else f"{verb} {route}"


_ROOMS = [shape.name for shape in SHAPES if shape.scope.get("type") == "websocket"]
_DEPARTED = [
    "client left before the body",
    "client left before the answer",
    "client left in the answer",
    "client left a stream that tells",
    "room that the client leaves",
]
_CRASHED = {
    "crash": "ValueError",
    "crash dependency": "ValueError",
    "crash in a mount": "ValueError",
    "crash group": "ExceptionGroup",
    "crash unprintable": "support.conformance.app.UnprintableError",
    "middleware that raises": "LookupError",
    "middleware that relays a crash": "ValueError",
    "query missing": "KeyError",
}
_MESSAGES = {
    "crash": "on purpose",
    "crash closing": "after the answer",
    "crash dependency": "on purpose",
    "crash in a mount": "on purpose",
    "crash group": "several (2 sub-exceptions)",
    "crash stream": "in the middle",
    "middleware that raises": "in a middleware",
    "middleware that relays a crash": "on purpose",
    "query missing": "'query_string'",
    "room that crashes early": "before the handshake",
    "room that crashes late": "after the handshake",
}

DIFFERENCES = (
    Difference(
        "server spans",
        {"query not UTF-8": 1},
        "A query may hold any bytes. Contrib raises, and the client gets a 500.",
        "OpenTelemetry specification, error-handling.md, Basic error handling principles: an exception of "
        "the instrumentation must not reach the application",
    ),
    Difference(
        "server.address",
        {
            OTHERS: "shop.example",
            "host of IPv4": "10.0.0.1",
            "host of IPv6": "::1",
            "host of IPv6 without a port": "2001:db8::1",
            "host with a wrong port": "shop.example:port",
            "host with an impossible port": "shop.example:99999",
            "host not ASCII": "sh\xf6p.example",
            "host long": "x" * 2_048,
            "host that routes": "tea.hosted",
            "host empty": "127.0.0.1",
            "host missing": "127.0.0.1",
            "server of a Unix socket": "/run/shop.sock",
        },
        "It is the host that the client asked for, without its port. Contrib gives the socket's, with it.",
        "http-spans.md, Setting server.address and server.port attributes: both come from the Host header",
    ),
    Difference(
        "server.address",
        {"host and server missing": None},
        "Nothing is known of it; contrib makes 0.0.0.0 up.",
        f"{SERVER}: recommended, not required",
    ),
    Difference(
        "server.port",
        {
            OTHERS: 80,
            "host with a port": 8443,
            "host under https": 443,
            "room under TLS": 443,
            "host and server missing": None,
        },
        "It is that of the Host header, whose port is left out if it is the scheme's own.",
        "http-spans.md, Setting server.address and server.port attributes; RFC 9110, 4.2: default ports",
    ),
    Difference(
        "client.port",
        {OTHERS: None},
        "It is recorded on request alone. The connection's port is network.peer.port.",
        f"{SERVER}: client.port is opt-in",
    ),
    Difference(
        "network.peer.address",
        {OTHERS: "10.1.2.3", "client of IPv6": "2001:db8::2"},
        "The other end of the connection, where it is known: with port 0 a proxy's header has replaced it.",
        f"{SERVER}: network.peer.address is recommended",
    ),
    Difference(
        "network.peer.port",
        {OTHERS: 50_000, "client of IPv6": 40_000},
        "As above.",
        f"{SERVER}: network.peer.port is recommended with the address",
    ),
    Difference(
        "user_agent.synthetic.type",
        {"agent of a crawler": None},
        "It is guessed from the agent, which is recorded.",
        f"{SERVER}: opt-in, in development",
    ),
    Difference(
        "user_agent.original",
        {"agent long": "x" * 2_048},
        "A caller cannot make spans large.",
        "OpenTelemetry specification, common/README.md, Attribute limits: values may be cut to a length",
    ),
    Difference(
        "url.path",
        {"path empty": "", "path long": f"/files/{'x' * 5_000}"[:2_048]},
        "It is always there, and no larger than others.",
        f"{SERVER}: url.path is required",
    ),
    Difference(
        "url.scheme",
        {"scheme missing": "http"},
        "A server that does not tell it means http.",
        f"{SERVER}: url.scheme is required; ASGI, HTTP connection scope: scheme defaults to http",
    ),
    Difference(
        "url.query",
        {
            "query with a signature": "sig=REDACTED&page=2",
            "query with a secret twice": "sig=REDACTED&sig=REDACTED",
            "query signed by Amazon": "&".join(
                f"X-Amz-{each}=REDACTED" for each in ("Signature", "Credential", "Security-Token")
            ),
            "query signed by Google": "X-Goog-Signature=REDACTED",
            "query signed of old": "AWSAccessKeyId=REDACTED&Signature=REDACTED",
            "query with an encoded name of a secret": "s%69g=REDACTED",
        },
        "Credentials are no telemetry; contrib redacts url.full, and not what replaces it on servers.",
        f"{SERVER}, note on url.query: values of the listed keys are replaced, the keys stay",
    ),
    Difference(
        "url.query",
        {"query with a signature of other case": "SIG=REDACTED"},
        "Stricter than asked: keys should be compared by case, but a secret in another case is one still.",
        f"{SERVER}, note on url.query: sensitive content that can be told is scrubbed",
    ),
    Difference(
        "url.query",
        {"query long": f"q={'x' * 5_000}"[:2_048]},
        "A caller cannot make spans large.",
        "OpenTelemetry specification, common/README.md, Attribute limits: values may be cut to a length",
    ),
    Difference(
        "http.request.method",
        {"method of lower case": "_OTHER"},
        "FastAPI tells `get` from `GET`, and so does HTTP.",
        f"{SERVER}, note on http.request.method: methods are case-sensitive and must match exactly",
    ),
    Difference(
        "http.request.method",
        dict.fromkeys(_ROOMS, "GET"),
        "The handshake of a WebSocket is a GET. Contrib leaves out a required attribute.",
        f"{SERVER}: http.request.method is required; RFC 6455, 4.1: the method of the handshake must be GET",
    ),
    Difference(
        "http.request.method_original",
        {"method unknown and long": "x" * 2_048},
        "A caller cannot make spans large.",
        "OpenTelemetry specification, common/README.md, Attribute limits: values may be cut to a length",
    ),
    Difference(
        "name",
        {OTHERS: _name},
        "It follows from method and route: where they differ, it does.",
        "http-spans.md, Name: the method, HTTP for an unknown one, and the route",
    ),
    Difference(
        "http.route",
        {
            "path of a mount": "/inner/x/{number}",
            "path of a mount with a value": "/tenants/{tenant}/x/{number}",
            "path of a mounted Starlette": "/old/y/{name}",
            "path of a mount in a mount": "/old/deep/z",
            "crash in a mount": "/inner/broken",
            "host that routes": "/hosted/{name}",
        },
        "The route that matched is the innermost; contrib stops at the mount, and does not look into hosts.",
        f"{SERVER}, note on http.route: all static segments, from the most precise source of the framework",
    ),
    Difference(
        "http.route",
        {
            "root path of the server": "/api/names/{name}",
            "root path of the application": "/api/names/{name}",
            "root path with a slash at its end": "/api/names/{name}",
            "root path that is not in the path": "/api/names/{name}",
            "root path and a mount": "/api/inner/x/{number}",
        },
        "The template is the one that the client sees.",
        f"{SERVER}, note on http.route: it should include the application root",
    ),
    Difference(
        "http.response.status_code",
        {
            **dict.fromkeys(
                ("room", "room under TLS", "room in a trace", "room behind middlewares", "room cancelled"),
                101,
            ),
            **dict.fromkeys(
                ("room that the client leaves", "room that crashes late", "room that stays open"), 101
            ),
            **dict.fromkeys(("room unknown", "room refused", "room with a wrong value"), 403),
            "room with a value": 101,
            "room denied": 402,
        },
        "It is the handshake's. Contrib writes 200 for each message, and nothing for a refusal.",
        f"{SERVER}: http.response.status_code is the status sent; RFC 6455, 4.2.2: accepting is a 101; "
        "ASGI, WebSocket: closing before accepting is a 403",
    ),
    Difference(
        "http.response.status_code",
        dict.fromkeys(("answer that never comes", "room without an answer", "room that crashes early"), 500),
        "Servers answer with it for an application that does not.",
        f"{SERVER}: http.response.status_code is the status sent",
    ),
    Difference(
        "http.response.status_code",
        {"client left before the body": None},
        "Starlette's 500 went to nobody.",
        f"{SERVER}: http.response.status_code if and only if one was sent",
    ),
    Difference(
        "status",
        dict.fromkeys(("answer that never comes", "room without an answer", "crash closing"), "ERROR"),
        "They failed. Contrib has ended its span before, or never learns.",
        "http-spans.md, Status: error for a 5xx, and for what fails otherwise",
    ),
    Difference(
        "error.type",
        {
            **dict.fromkeys(("answer that never comes", "room without an answer"), "500"),
            "crash closing": "OSError",
            "crash stream": "ConnectionError",
            **dict.fromkeys(("room that crashes early", "room that crashes late"), "ValueError"),
        },
        "A span with an error has its type; contrib leaves it out.",
        f"{SERVER}: error.type is required if the request has ended with an error",
    ),
    Difference(
        "error.type",
        dict(_CRASHED),
        "The exception says more than the 500 that stands for it.",
        f"{SERVER}, note on error.type: the exception's type if there was no answer before",
    ),
    Difference(
        "description",
        {**_MESSAGES},
        "It is the exception's message; contrib has none, or says the type again.",
        "general/recording-errors.md, Recording errors on spans: the message, without the error type",
    ),
    Difference(
        "exceptions",
        {
            "crash unprintable": [_CRASHED["crash unprintable"]],
            "crash closing": ["OSError"],
            "crash in a mount": ["ValueError"],
        },
        "The exception that ended the request is recorded. Contrib fails to, or has ended its span.",
        "general/recording-errors.md, Recording exceptions: one that fails the operation is recorded",
    ),
    Difference(
        "exceptions",
        {
            "crash stream": ["ConnectionError"],
            "room that crashes early": ["ValueError"],
            "room that crashes late": ["ValueError"],
        },
        "Once, not twice.",
        "general/recording-errors.md, Recording exceptions: the same one is not to be recorded again",
    ),
    Difference(
        "status",
        dict.fromkeys(_DEPARTED, "UNSET"),
        "A choice: clients come and go, and an alert on the service's errors is not to ring for them.",
        "http-spans.md, Status: who knows more of a request may set the status more precisely. It also says "
        "that what keeps a server from answering in full should be an error, and that a caller who cancels "
        "is none, but this of clients alone",
    ),
    Difference(
        "error.type",
        {"client left before the body": None},
        "As above: without an error there is no type of one.",
        f"{SERVER}, note on error.type",
    ),
    Difference(
        "description",
        dict.fromkeys([each for each in _DEPARTED if each != "client left before the body"]),
        "As above: without an error there is no description of one.",
        "OpenTelemetry specification, trace/api.md, Set Status: only an error has a description",
    ),
    Difference(
        "exceptions",
        {shape: [] for shape in _DEPARTED},
        "As above: the client did not fail the service.",
        "general/recording-errors.md, Recording exceptions",
    ),
    Difference(
        "parent",
        {"trace twice": None},
        "Two parents are none: the trace begins here.",
        "W3C Trace Context, test suite, test_traceparent_duplicated: the trace id is a new one",
    ),
)


def expected(field: str, shape: str, ours: Seen) -> tuple[Difference, Any] | None:
    """Returns the entry for a difference, the most particular one, and what it says our value is."""
    for key in (shape, OTHERS):
        for entry in DIFFERENCES:
            if entry.field == field and key in entry.ours:
                value = entry.ours[key]
                return entry, value(ours) if callable(value) else value
    return None
