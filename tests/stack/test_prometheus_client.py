"""Prometheus's answers, and malformed answers."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack.backends.prometheus import AsyncPrometheus, Exemplar, Prometheus, PrometheusError, Series
from stack.health import NotYetError


class Answering(ThreadingHTTPServer):
    """A server that gives the same answer to every request."""

    def __init__(self) -> None:
        self.status = 200
        self.text = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.text.encode())

            def log_message(self, *_: object) -> None:
                """Keeps the tests' output clean."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[Answering]:
    """A running server, stopped afterwards."""
    with Answering() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask_for_exemplars(server: Answering) -> list[Exemplar]:
    """Returns the exemplars of any query."""
    return asyncio.run(AsyncPrometheus(server.server_port).exemplars("x", start=1000, end=1300))


def test_exemplars_of_every_series_are_read(server: Answering) -> None:
    """An exemplar that names no trace is left out."""

    def exemplar(at: float, value: float, **labels: str) -> dict[str, object]:
        return {"timestamp": at, "value": str(value), "labels": labels}

    series = [[exemplar(1000.5, 5, trace_id="a"), exemplar(1000.6, 99)], [exemplar(1001.0, 7, trace_id="b")]]
    server.text = json.dumps(
        {"status": "success", "data": [{"seriesLabels": {}, "exemplars": each} for each in series]}
    )
    assert ask_for_exemplars(server) == [Exemplar(1000.5, 5.0, "a"), Exemplar(1001.0, 7.0, "b")]


def test_both_clients_read_a_vector_alike(server: Answering) -> None:
    """One is for threads, the other for an event loop."""
    vector = [{"metric": {"job": "shop"}, "value": [1000.5, "7"]}]
    server.text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}})
    expected = [Series({"job": "shop"}, ((1000.5, 7.0),))]
    assert Prometheus(server.server_port).query("x") == expected
    assert asyncio.run(AsyncPrometheus(server.server_port).instant("x", at=1300)) == expected


def test_a_stranger_on_prometheuss_port_is_reported_to_commands(server: Answering) -> None:
    """The error has the requested address."""
    server.text = "<html>"
    with pytest.raises(NotYetError, match=r"/api/v1/alerts is not the API of a Prometheus"):
        Prometheus(server.server_port).alerts()


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (400, '{"status": "error", "error": "parse error"}', "refuses: parse error"),
        (502, "<html>", "answers 502 with no JSON"),
        (200, "[]", "answers 200, but not as its API does"),
    ],
)
def test_malformed_answer_is_reported(status: int, text: str, words: str, server: Answering) -> None:
    """The message is for the reader of the page."""
    server.status, server.text = status, text
    with pytest.raises(PrometheusError, match=words):
        ask_for_exemplars(server)


def test_a_prometheus_that_is_down_is_reported(free_port: int) -> None:
    """The message says that Prometheus does not answer."""
    with pytest.raises(PrometheusError, match="does not answer"):
        asyncio.run(AsyncPrometheus(free_port).instant("x", at=1300))
