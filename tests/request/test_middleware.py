"""The middleware as a plain ASGI callable, including failures."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.client import TelemetryClient
from telemetry.request.excluded import ExcludedPaths
from telemetry.request.middleware import TelemetryMiddleware, path_of


@pytest.fixture
def client() -> Iterator[TelemetryClient]:
    """A client that exports nothing."""
    made = TelemetryClient(service_name="middleware-test", traces_exporter="none")
    yield made
    made.shutdown(1)


def serve(client: TelemetryClient, app: ASGIApp, **scope: Any) -> list[Message]:
    """Sends one request through the middleware; the clock advances 5 ms with each reading."""
    sent: list[Message] = []
    ticks = iter(range(100))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    middleware = TelemetryMiddleware(
        app, client=client, excluded=ExcludedPaths(("/live",)), clock=lambda: next(ticks) * 0.005
    )
    asyncio.run(middleware({"type": "http", "method": "GET", "path": "/", **scope}, receive, send))
    return sent


def value(client: TelemetryClient, name: str, **labels: str) -> float:
    """Returns the value of a series, or 0 if there is none."""
    return client.registry.get_sample_value(name, labels) or 0.0


async def answer_200(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with an empty 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_duration_is_in_milliseconds(client: TelemetryClient) -> None:
    """The histogram's unit matches its name."""
    labels = {"method": "GET", "route": "unmatched", "status_code": "200"}
    before = value(client, "app_request_latency_ms_sum", **labels)
    serve(client, answer_200)
    assert value(client, "app_request_latency_ms_sum", **labels) - before == pytest.approx(5)


def test_exception_after_the_answer_began_keeps_its_status_and_counts_as_an_error(
    client: TelemetryClient,
) -> None:
    """The client saw 200; the failure is still counted and propagates."""

    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionResetError

    labels = {
        "method": "GET",
        "route": "unmatched",
        "status_code": "200",
        "error_type": "ConnectionResetError",
    }
    before = value(client, "app_error_count_total", **labels)
    with pytest.raises(ConnectionResetError):
        serve(client, break_off)
    assert value(client, "app_error_count_total", **labels) == before + 1


def test_cancelled_request_is_no_error(client: TelemetryClient) -> None:
    """A client that goes away is counted as 499, not as a failure of the service."""

    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    labels = {"method": "GET", "route": "unmatched", "status_code": "499"}
    before = value(client, "app_request_count_total", **labels)
    with pytest.raises(asyncio.CancelledError):
        serve(client, cancelled)
    assert value(client, "app_request_count_total", **labels) == before + 1
    assert not [
        sample
        for family in client.registry.collect()
        for sample in family.samples
        if sample.name == "app_error_count_total" and sample.labels["status_code"] == "499"
    ]


def test_broken_metric_breaks_no_request(
    client: TelemetryClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in the library is logged once, and the answer is sent anyway."""

    def broken(**_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(client.metrics, "record_request", broken)
    assert [message["type"] for message in serve(client, answer_200)] == [
        "http.response.start",
        "http.response.body",
    ]
    assert "recording a request failed" in caplog.text


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_pass_through_uncounted(kind: str, client: TelemetryClient) -> None:
    """Only HTTP requests are counted."""
    seen: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    before = [sample.value for family in client.registry.collect() for sample in family.samples]
    serve(client, note, type=kind)
    assert seen == [kind]
    assert [sample.value for family in client.registry.collect() for sample in family.samples] == before


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [("/live", "", "/live"), ("/shop/live", "/shop", "/live"), ("/shopping", "/shop", "/shopping")],
)
def test_path_is_the_one_below_the_mount_point(path: str, root: str, expected: str) -> None:
    """A proxy's prefix does not hide an excluded path."""
    assert path_of({"path": path, "root_path": root}) == expected
