"""The benchmark of requests, in small: what it measures is well-formed, and every span arrives.

How long anything takes is never asserted. The rivals that only `.venv-bench` has are not measured here.
"""

import json
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, request
from benchmarks.figures import Amount, Figure
from benchmarks.request_load import load
from benchmarks.request_served import measure_served
from benchmarks.request_variants import VARIANTS
from benchmarks.run import Receiver, Run, SpansLostError


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver in a process of its own."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def run(receiver: Receiver) -> Run:
    """A run without samples."""
    return Run(receiver, is_quick=True)


def measure_directly(run: Run, to: Receiver, variant: str, ratio: float = 1.0) -> dict[str, float]:
    """Takes a small sample in process."""
    return run.measure_delivery(
        "sample",
        "benchmarks.request_direct",
        variant=variant,
        ratio=ratio,
        grpc=to.grpc,
        http=to.http,
        requests=30,
        warm_up=10,
        per_second=10_000,
    )


@pytest.mark.parametrize(
    ("variant", "ratio", "spans"),
    [
        ("bare", 1.0, 0),
        ("ours", 1.0, 40),
        ("ours", 0.0, 0),
        ("contrib", 1.0, 120),
        ("contrib", 0.0, 0),
        ("contrib-fewer", 1.0, 40),
        ("native", 1.0, 160),
    ],
)
def test_all_spans_of_a_variant_arrive(
    run: Run, receiver: Receiver, variant: str, ratio: float, spans: int
) -> None:
    """Each variant answers in process, and sends as many spans a request as it is known for."""
    before = receiver.spans
    sample = measure_directly(run, receiver, variant, ratio)
    assert receiver.spans - before == sample["spans"] == spans
    assert 0 < sample["us_per_request"] < math.inf
    assert run.samples == {"sample": [sample]}


def test_sample_is_void_if_its_spans_go_elsewhere(run: Run) -> None:
    """A sample whose spans did not arrive is not kept."""
    elsewhere = Receiver()
    try:
        with pytest.raises(SpansLostError, match="0 of 40 spans arrived"):
            measure_directly(run, elsewhere, "ours")
    finally:
        elsewhere.close()
    assert not any(run.samples.values())


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize(("variant", "ratio"), [("bare", 1.0), ("ours", 1.0), ("ours", 0.1)])
def test_all_spans_of_a_server_arrive(run: Run, variant: str, ratio: float, parser: str) -> None:
    """A server is loaded at a rate; if chance samples, as many spans arrive as the variant counted."""
    sample = measure_served(
        run, "sample", variant, ratio=ratio, parser=parser, requests=40, per_second=10_000
    )
    assert sample["requests"] == 48
    assert all(0 < sample[key] < math.inf for key in ("us_per_request", "per_second", "load_busy"))
    assert sample["waited"] >= 0
    assert run.samples == {"sample": [sample]}


def test_server_is_loaded_to_its_limit(run: Run) -> None:
    """Requests are then as many as it answers."""
    sample = measure_served(run, "sample", "ours", ratio=1.0, parser="httptools", seconds=0.2)
    assert sample["requests"] > 8
    assert sample["per_second"] > 0


@pytest.mark.parametrize("is_sampled", [True, False])
@pytest.mark.parametrize("way", ["ours", "stock"])
def test_all_spans_of_functions_arrive(run: Run, receiver: Receiver, way: str, is_sampled: bool) -> None:
    """Decorated functions and those with a span of the SDK send a span for each call, and their parents."""
    sample = run.measure_delivery(
        "sample",
        "benchmarks.request_functions",
        way=way,
        endpoint=receiver.grpc,
        calls=400,
        is_sampled=is_sampled,
    )
    assert sample["spans"] == (1_203 if is_sampled else 0)
    assert 0 < sample["us_per_call"] <= sample["us_per_call_sent"] < math.inf


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{  }",
        b"",
    ],
)
def test_load_notices_a_wrong_answer(answer: bytes) -> None:
    """A failure, an answer of another length and a closed connection end the measurement."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):  # the load leaves when it has noticed
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            connection.recv(65_536)
            connection.sendall(answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        with pytest.raises(ConnectionError):
            load(listener.getsockname()[1], requests=8, per_second=1_000)
        listener.shutdown(socket.SHUT_RDWR)
    for thread in (accepting, *threads):
        thread.join()


def test_void_sample_is_taken_again_and_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said aloud and remembered; the third one in a row ends the run."""
    lost = [SpansLostError("first"), SpansLostError("second")]

    def take(label: str) -> None:
        if lost:
            raise lost.pop(0)
        run.samples[label].append({})

    request._take(run, "sample", take)
    assert run.void == ["first", "second"]
    assert "first" in capsys.readouterr().err
    assert run.samples == {"sample": [{}]}
    lost = [SpansLostError(word) for word in ("1", "2", "3")]
    with pytest.raises(SpansLostError, match="3"):
        request._take(run, "sample", take)


def test_added_cpu_is_beside_the_bare_application(run: Run) -> None:
    """The ratio is one of differences, round by round."""
    for label, values in {"bare": [50.0, 60.0], "ours": [60.0, 80.0], "contrib": [150.0, 160.0]}.items():
        run.samples[f"here, {label}"] = [{"us_per_request": value} for value in values]
    figures, amounts = request._added(run, "here", ("bare", "ours", "contrib"))
    assert [figure.samples for figure in figures] == [[0.1, 0.2]]
    assert [figure.target for figure in figures] == [0.10]
    assert [list(amount.samples) for amount in amounts] == [[50.0, 60.0], [10.0, 20.0], [100.0, 100.0]]


def test_rates_of_a_process_that_waited_are_not_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said aloud, and no verdict is given, since a rate is read from the clock."""
    assert request._had_a_core("ours", [0.0, 0.01, 0.9])
    assert not capsys.readouterr().err
    assert not request._had_a_core("ours", [0.0, 0.2, 0.9])
    assert "ours waited for a core 20% of the time" in capsys.readouterr().err
    figure = Figure("x", "ratio", [1.0], [2.0], 0.5, is_trusted=False)
    assert list(report.table_of([figure]).columns[0].cells) == ["[yellow]unsure[/]"]


def test_every_comparison_is_of_variants_that_are_measured() -> None:
    """A name that is misspelt would leave its figure out."""
    assert {label for mine, theirs, _ in request._ADDED for label in (mine, theirs)} <= set(request._VARIANTS)
    assert {request._of(label)[0] for label in request._VARIANTS} == set(VARIANTS)


def test_report_holds_all_that_was_measured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures, amounts, void samples, versions and every sample are written."""
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    run.samples["sample"].append({"us_per_request": 2.0})
    run.void.append("one was lost")
    figure = Figure("x", "ratio", [1.0], [2.0], 0.5)
    file = report.write("request", [figure], run, ["fastapi"], [Amount("y", "µs", [2.0, 1.0, 4.0])])
    written: dict[str, Any] = json.loads(file.read_text())
    assert file.name == "request-quick.json"
    assert written["figures"][0]["is_reached"]
    assert written["amounts"] == [{"name": "y", "unit": "µs", "median": 2.0, "spread": [1.0, 4.0]}]
    assert written["void"] == ["one was lost"]
    assert written["samples"] == {"sample": [{"us_per_request": 2.0}]}
    assert set(written["packages"]) == {"fastapi"}
    assert {"cpu", "cores", "system", "python"} <= set(written["machine"])
