"""The canary reports what is missing, against real HTTP servers that answer wrongly."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack.backends.jaeger import Jaeger
from stack.canary import order_one
from stack.errors import StackError
from stack.health import NotYetError, get, wait_for
from stack.settings import StackSettings, load_settings

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def answering() -> Iterator[Callable[[Answer], StackSettings]]:
    """Settings whose services give the same answer to every request."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> StackSettings:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                status, headers, body = answer
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - the server's own names

            def log_message(self, *_: object) -> None:
                pass

        ports = {}
        for name in ("storefront_port", "jaeger_port", "prometheus_port"):
            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            servers.append(server)
            threading.Thread(target=server.serve_forever).start()
            ports[name] = server.server_port
        return load_settings(**ports)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def traced(flags: str) -> Answer:
    """Returns the answer to a created order whose trace has these flags."""
    return 201, {"traceresponse": f"00-{'a' * 32}-{'b' * 16}-{flags}"}, b"{}"


@pytest.mark.parametrize("flags", ["01", "03"])
def test_sampled_order_gives_its_trace_id(flags: str, answering: Callable[[Answer], StackSettings]) -> None:
    """The sampled bit counts, whatever other flags are set."""
    assert order_one(answering(traced(flags))) == "a" * 32


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (traced("02"), "was sampled"),
        ((500, {}, b"broken"), "answered 500: broken"),
        ((201, {}, b"{}"), "TELEMETRY_TRACE_RESPONSE"),
    ],
)
def test_bad_order_is_reported(
    answer: Answer, words: str, answering: Callable[[Answer], StackSettings]
) -> None:
    """Unsampled, refused and without the header: each has its own message."""
    with pytest.raises(StackError, match=words):
        order_one(answering(answer))


def test_missing_storefront_is_reported(free_port: int) -> None:
    """The message has the address."""
    with pytest.raises(StackError, match=f"no answer from http://127.0.0.1:{free_port}/v1/orders"):
        order_one(load_settings(storefront_port=free_port))


def test_jaegers_page_is_not_taken_for_an_answer(answering: Callable[[Answer], StackSettings]) -> None:
    """Jaeger answers 200 with HTML on a path that it does not know."""
    settings = answering((200, {"content-type": "text/html"}, b"<html>"))
    with pytest.raises(NotYetError, match="is not the API"):
        Jaeger(settings.jaeger_port).spans("a" * 32)


def test_trace_is_grouped_by_service(answering: Callable[[Answer], StackSettings]) -> None:
    """Spans are found under their service's name."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "storefront"}}]}
    body = {"result": {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [{"name": "x"}]}]}]}}
    settings = answering((200, {"content-type": "text/plain"}, json.dumps(body).encode()))
    assert Jaeger(settings.jaeger_port).spans("a" * 32) == {"storefront": [{"name": "x"}]}


def test_waiting_ends_with_what_was_missing() -> None:
    """The last thing that was missing is the message."""

    def find() -> None:
        raise NotYetError("no span of inventory")

    with pytest.raises(StackError, match=r"no span of inventory \(waited 0.2 s\)"):
        wait_for(find, seconds=0.2)


def test_answer_other_than_200_is_not_yet(answering: Callable[[Answer], StackSettings]) -> None:
    """The message has the body."""
    settings = answering((503, {}, b"starting"))
    with pytest.raises(NotYetError, match="answers 503: starting"):
        get(f"http://127.0.0.1:{settings.storefront_port}/")
