"""The shapes of requests, each of which asks something that an instrumentation may get wrong."""

from typing import Any

from support.conformance.driver import Shape

TRACE, PARENT = "a" * 32, "b" * 16
VALID = f"00-{TRACE}-{PARENT}-01"
LONG = "x" * 5_000


def _traced(name: str, traceparent: str | bytes, *more: tuple[bytes, bytes]) -> Shape:
    value = traceparent.encode() if isinstance(traceparent, str) else traceparent
    return Shape(name, headers=((b"traceparent", value), *more))


def _hosted(name: str, host: bytes, **more: Any) -> Shape:
    return Shape(name, usual=((b"host", host), (b"user-agent", b"tester/1")), **more)


def _room(name: str, target: str, *received: dict[str, Any], **more: Any) -> Shape:
    scope = {"type": "websocket", "scheme": "ws", "subprotocols": [], **more.pop("scope", {})}
    messages = ({"type": "websocket.connect"}, *received)
    return Shape(name, target, received=messages, scope=scope, **more)


_TEXT = {"type": "websocket.receive", "text": "x"}
_LEFT = {"type": "websocket.disconnect", "code": 1001}

_METHODS = (
    *(
        Shape(f"method {each}", method=each)
        for each in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
    ),
    *(Shape(f"method {each}", method=each) for each in ("CONNECT", "QUERY", "TRACE")),
    Shape("method of lower case", method="get"),
    Shape("method unknown", method="BREW"),
    Shape("method unknown and long", method=LONG),
    Shape("method that the route lacks", "/names/x", method="DELETE"),
    Shape("HEAD that the route lacks", "/names/x", method="HEAD"),
    Shape("OPTIONS that the route lacks", "/names/x", method="OPTIONS"),
    Shape("HEAD of a route of Starlette", "/plain/x", method="HEAD"),
)
_PATHS = (
    Shape("path with a value", "/items/7"),
    Shape("path with a wrong value", "/items/seven"),
    Shape("path of an included router", "/api/v1/things/7"),
    Shape("path of a Starlette route", "/plain/x"),
    Shape("path encoded", "/names/a%20b%3Fc"),
    Shape("path of unicode", "/names/%E8%8C%B6"),
    Shape("path that is not UTF-8", "/names/%FF"),
    Shape("path with an encoded slash", "/names/a%2Fb"),
    Shape("path of a rest with an encoded slash", "/files/a%2Fb/c"),
    Shape("path with two slashes", "//any"),
    Shape("path with dots", "/files/../any"),
    Shape("path empty", "/", scope={"path": "", "raw_path": b""}),
    Shape("path of the root", "/"),
    Shape("path long", f"/files/{LONG}"),
    Shape("path with credentials", "/names/user:secret@host"),
    Shape("path unknown", "/nowhere/7"),
    Shape("path that lacks a slash", "/slash"),
    Shape("path with a slash too many", "/names/x/"),
    Shape("path whose raw form is missing", "/names/x", without=("raw_path",)),
    Shape("path of a mount", "/inner/x/7"),
    Shape("path unknown in a mount", "/inner/nowhere"),
    Shape("path of a mount with a value", "/tenants/acme/x/7"),
    Shape("path of a mounted Starlette", "/old/y/7"),
    Shape("path of a mount in a mount", "/old/deep/z"),
    Shape("path of a mount without a slash", "/inner"),
    Shape("path of a file", "/static/app.py"),
    Shape("path of a file that is not there", "/static/nowhere.py"),
    Shape("path of the documentation", "/docs"),
    Shape("path of the schema", "/openapi.json"),
    Shape("root path of the server", "/names/x", scope={"root_path": "/api"}),
    Shape("root path of the application", "/names/x", app="rooted"),
    Shape("root path with a slash at its end", "/names/x", scope={"root_path": "/api/"}),
    Shape("root path that is not in the path", "/names/x", scope={"root_path": "/api", "path": "/names/x"}),
    Shape("root path and a mount", "/inner/x/7", scope={"root_path": "/api"}),
    Shape("root path and nothing found", "/nowhere", scope={"root_path": "/api"}),
)
_QUERIES = (
    Shape("query", "/any?q=tea&page=2"),
    Shape("query empty", "/any?"),
    Shape("query with a signature", "/any?sig=secret&page=2"),
    Shape("query signed by Amazon", "/any?X-Amz-Signature=s&X-Amz-Credential=c&X-Amz-Security-Token=t"),
    Shape("query signed by Google", "/any?X-Goog-Signature=s"),
    Shape("query signed of old", "/any?AWSAccessKeyId=k&Signature=s"),
    Shape("query with a signature of other case", "/any?SIG=secret"),
    Shape("query with an encoded name of a secret", "/any?s%69g=secret"),
    Shape("query with a secret without a value", "/any?sig&signature"),
    Shape("query with a secret twice", "/any?sig=one&sig=two"),
    Shape("query with repeated names", "/any?a=1&a=2"),
    Shape("query without values", "/any?a&b=&=c&&"),
    Shape("query malformed", "/any?%zz=%&;;?=?"),
    Shape("query not UTF-8", "/any", scope={"query_string": b"q=\xff"}),
    Shape("query long", f"/any?q={LONG}"),
    Shape("query missing", "/any", without=("query_string",)),
)
_HOSTS = (
    _hosted("host with a port", b"shop.example:8443"),
    _hosted("host of IPv4", b"10.0.0.1:80"),
    _hosted("host of IPv6", b"[::1]:8000"),
    _hosted("host of IPv6 without a port", b"[2001:db8::1]"),
    _hosted("host under https", b"shop.example", scope={"scheme": "https"}),
    _hosted("host empty", b""),
    _hosted("host with a wrong port", b"shop.example:port"),
    _hosted("host with an impossible port", b"shop.example:99999"),
    _hosted("host with credentials", b"user:secret@shop.example:80"),
    _hosted("host not ASCII", b"sh\xf6p.example"),
    _hosted("host long", LONG.encode()),
    _hosted("host that routes", b"tea.hosted", target="/hosted/x"),
    Shape("host twice", headers=((b"host", b"second.example"),)),
    Shape("host missing", usual=((b"user-agent", b"tester/1"),)),
    Shape("host and server missing", usual=(), scope={"server": None}),
    Shape("server of a Unix socket", usual=(), scope={"server": ("/run/shop.sock", None), "client": None}),
    Shape("server on port 80", scope={"server": ("127.0.0.1", 80)}),
)
_CLIENTS = (
    Shape("agent missing", usual=((b"host", b"shop.example"),)),
    Shape("agent empty", usual=((b"host", b"shop.example"), (b"user-agent", b""))),
    Shape("agent long", usual=((b"host", b"shop.example"), (b"user-agent", LONG.encode()))),
    Shape("agent not ASCII", usual=((b"host", b"shop.example"), (b"user-agent", b"\xff\xfe"))),
    Shape("agent of a crawler", usual=((b"host", b"shop.example"), (b"user-agent", b"Googlebot/2.1"))),
    Shape("agent twice", headers=((b"user-agent", b"second/1"),)),
    Shape("client unknown", scope={"client": None}),
    Shape("client missing", without=("client",)),
    Shape("client of IPv6", scope={"client": ("2001:db8::2", 40_000)}),
    Shape("client that a proxy names", scope={"client": ("203.0.113.7", 0)}),
    Shape("HTTP 1.0", scope={"http_version": "1.0"}),
    Shape("HTTP 2", scope={"http_version": "2"}),
    Shape("HTTP 3", scope={"http_version": "3"}),
    Shape("HTTP version missing", without=("http_version",)),
    Shape("scheme missing", without=("scheme",)),
    Shape(
        "proxy whose headers nobody trusts",
        headers=(
            (b"x-forwarded-for", b"203.0.113.7"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"public.example"),
            (b"forwarded", b"for=203.0.113.7;host=public.example;proto=https"),
        ),
    ),
    Shape("header not Latin", headers=((b"x-\xff", b"\xe8\x8c\xb6"), (b"x-empty", b""))),
)
_TRACES = (
    _traced("trace of the caller", VALID),
    _traced("trace not sampled", f"00-{TRACE}-{PARENT}-00"),
    _traced("trace with unknown flags", f"00-{TRACE}-{PARENT}-ff"),
    _traced("trace of a later version", f"01-{TRACE}-{PARENT}-01-more"),
    _traced("trace of the forbidden version", f"ff-{TRACE}-{PARENT}-01"),
    _traced("trace in upper case", VALID.upper()),
    _traced("trace of zeros", f"00-{'0' * 32}-{PARENT}-01"),
    _traced("trace whose span is zero", f"00-{TRACE}-{'0' * 16}-01"),
    _traced("trace cut short", VALID[:-4]),
    _traced("trace too long", f"{VALID}-more"),
    _traced("trace of nonsense", b"\xff\xfe"),
    _traced("trace empty", ""),
    _traced("trace in blanks", f"  {VALID}  "),
    _traced("trace twice", VALID, (b"traceparent", VALID.replace("a", "c").encode())),
    _traced("trace with a state", VALID, (b"tracestate", b"one=1,two=2")),
    _traced("trace with states in two lines", VALID, (b"tracestate", b"one=1"), (b"tracestate", b"two=2")),
    _traced("trace with a malformed state", VALID, (b"tracestate", b"one,=,\xff")),
    _traced("trace with a long state", VALID, (b"tracestate", b"one=" + LONG.encode())),
    Shape("trace state alone", headers=((b"tracestate", b"one=1"),)),
    _traced("trace with baggage", VALID, (b"baggage", b"k=v")),
    Shape("baggage alone", headers=((b"baggage", b"k=v,l=%zz,\xff=\xff"),)),
)
_ANSWERS = (
    *(Shape(f"status {code}", f"/status/{code}") for code in (103, 200, 204, 205, 299, 301, 304, 308)),
    *(Shape(f"status {code}", f"/status/{code}") for code in (400, 404, 451, 499, 500, 501, 503, 599, 600)),
    *(Shape(f"HTTPException {code}", f"/refuse/{code}") for code in (400, 404, 429, 500, 503)),
    Shape("answer that redirects", "/redirect"),
    Shape("answer from a file", "/file"),
    Shape("answer streamed", "/stream"),
    Shape("answer streamed and empty", "/stream/empty"),
    Shape("answer with background work", "/background"),
    Shape("answer with trailers", "/asgi/trailers"),
    Shape("answer that the server reads from a file", "/asgi/pathsend"),
    Shape("answer after an early hint", "/asgi/hint"),
    Shape("answer that never comes", "/asgi/nothing"),
    Shape("answer without an end", "/asgi/start"),
    Shape("answer twice", "/asgi/twice"),
    Shape("body", "/body", "POST", received=({"type": "http.request", "body": b"abc", "more_body": False},)),
    Shape("middleware that relays", "/names/x", app="guarded"),
    Shape("middleware that refuses", "/names/x", headers=((b"x-guard", b"refuse"),), app="guarded"),
    Shape("middleware that raises", "/names/x", headers=((b"x-guard", b"raise"),), app="guarded"),
    Shape("middleware that relays a crash", "/crash", app="guarded"),
    Shape(
        "middleware that answers a preflight",
        "/names/x",
        "OPTIONS",
        headers=((b"origin", b"http://x"), (b"access-control-request-method", b"GET")),
        app="guarded",
    ),
)
_FAILURES = (
    *(Shape(f"crash {each}", f"/crash/{each}") for each in ("handled", "unprintable", "group", "dependency")),
    *(Shape(f"crash {each}", f"/crash/{each}") for each in ("cancelled", "closing", "stream", "background")),
    Shape("crash", "/crash"),
    Shape("crash interrupt", "/crash/interrupt"),
    Shape("crash in a mount", "/inner/broken"),
    Shape("client left before the body", "/body", "POST", received=({"type": "http.disconnect"},)),
    Shape("client left before the answer", "/names/x", fails=0),
    Shape("client left in the answer", "/stream", fails=2),
    Shape("client left a stream", "/stream/forever", received=({"type": "http.disconnect"},)),
    Shape(
        "client left a stream that tells", "/stream/forever", fails=3, scope={"asgi": {"spec_version": "2.4"}}
    ),
    Shape("server gave the request up", "/stream/forever", cancelled=3),
)
_ROOMS = (
    _room("room", "/room/tea", _TEXT),
    _room("room that the client leaves", "/room/tea", _LEFT),
    _room("room under TLS", "/room/tea?token=x", _TEXT, scope={"scheme": "wss"}),
    _room("room in a trace", "/room/tea", _TEXT, headers=((b"traceparent", VALID.encode()),)),
    _room("room unknown", "/nowhere"),
    _room("room refused", "/rooms/refused"),
    _room("room denied", "/rooms/denied", scope={"extensions": {"websocket.http.response": {}}}),
    _room("room without an answer", "/rooms/silent"),
    _room("room that crashes early", "/rooms/early"),
    _room("room that crashes late", "/rooms/late"),
    _room("room that stays open", "/rooms/open"),
    _room("room with a value", "/rooms/number/7"),
    _room("room with a wrong value", "/rooms/number/seven"),
    _room("room behind middlewares", "/room/tea", _TEXT, app="guarded"),
    _room("room cancelled", "/room/tea", cancelled=1),
)
SHAPES: tuple[Shape, ...] = (
    *_METHODS,
    *_PATHS,
    *_QUERIES,
    *_HOSTS,
    *_CLIENTS,
    *_TRACES,
    *_ANSWERS,
    *_FAILURES,
    *_ROOMS,
)
