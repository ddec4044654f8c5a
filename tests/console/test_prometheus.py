"""Prometheus's answers as the console reads them, and answers that are none."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from console.dashboards.prometheus import Exemplar, Prometheus, PrometheusError, Window

WINDOW = Window(1000.0, 1300.0)


class Answering(ThreadingHTTPServer):
    """Answers each request with the same."""

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
                """Nobody reads it."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[Answering]:
    """Ended afterwards."""
    with Answering() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask_for_exemplars(server: Answering) -> list[Exemplar]:
    """Of any query."""
    return asyncio.run(Prometheus(server.server_port).exemplars("x", WINDOW))


def test_the_highest_exemplar_of_each_step_is_kept(server: Answering) -> None:
    """Whichever series has it; one that names no trace cannot be opened."""
    assert WINDOW.step == 2

    def exemplar(at: float, value: float, **labels: str) -> dict[str, object]:
        return {"timestamp": at, "value": str(value), "labels": labels}

    series = [
        [exemplar(1004.1, 3, trace_id="c"), exemplar(1000.5, 5, trace_id="a"), exemplar(1000.6, 99)],
        [exemplar(1001.0, 7, trace_id="b"), exemplar(1001.5, 6, trace_id="d")],
    ]
    server.text = json.dumps(
        {"status": "success", "data": [{"seriesLabels": {}, "exemplars": each} for each in series]}
    )
    assert ask_for_exemplars(server) == [Exemplar(1001.0, 7.0, "b"), Exemplar(1004.1, 3.0, "c")]


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (400, '{"status": "error", "error": "parse error"}', "refuses: parse error"),
        (502, "<html>", "answers 502 with no JSON"),
        (200, "[]", "answers 200 with no answer of its API"),
    ],
)
def test_what_is_no_answer_is_told(status: int, text: str, words: str, server: Answering) -> None:
    """For the reader of the page."""
    server.status, server.text = status, text
    with pytest.raises(PrometheusError, match=words):
        ask_for_exemplars(server)


def test_a_prometheus_that_is_down_is_told(free_port: int) -> None:
    """By name."""
    with pytest.raises(PrometheusError, match="does not answer"):
        asyncio.run(Prometheus(free_port).instant("x", WINDOW))
