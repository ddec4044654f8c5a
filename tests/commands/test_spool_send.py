"""`spool send`: a dead host's spans, or those for a renamed endpoint, by hand."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.collector import ACCEPT, UNWELL, Collector, Reply
from support.dead_host import Run, damage_last, encoded, files, names
from support.otlp_answers import partial_success
from support.spool_rig import SpoolRig

from telemetry.commands.sending import GivenUpError, HandSender
from telemetry.export.otlp.result import Disposition, ExportResult

Leave = Callable[..., SpoolRig]
REFUSED = Reply(code=grpc.StatusCode.INVALID_ARGUMENT, status=400)


def test_everything_is_sent_and_deleted(leave: Leave, spool: Path, collector: Collector, run: Run) -> None:
    """Once each and in order, of several dead processes; nothing is left of the folder."""
    leave("a", "b")
    leave("c")
    status, out, err = run("send", "--to", collector.endpoint)
    assert (status, out) == (0, "9 spans delivered, 0 rejected, 0 left\n")
    assert "kept for http://old:4317 (grpc)" in err
    assert sorted(collector.taken) == names("a", "b", "c")
    assert list(spool.iterdir()) == []
    assert run("send", "--to", collector.endpoint)[:2] == (0, "0 spans delivered, 0 rejected, 0 left\n")


def test_headers_of_the_environment_are_sent_and_named_without_values(
    leave: Leave, collector: Collector, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service sends; the whole address for traces is as good as the general one."""
    leave("a")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    url = collector.endpoint if collector.protocol == "grpc" else f"{collector.endpoint}/v1/traces"
    status, out, err = run("send", "--to", url.replace("://", "://user:password@"))
    assert (status, out) == (0, "3 spans delivered, 0 rejected, 0 left\n"), err
    assert ", with headers x-tenant" in err
    assert "secret" not in out + err
    assert "password" not in out + err
    assert collector.taken == names("a")


def test_living_owners_keep_and_send_their_own(
    leave: Leave, spool: Path, collector: Collector, run: Run
) -> None:
    """Only what dead processes left is sent."""
    alive = leave("alive", is_alive=True)
    leave("dead")
    status, out, _ = run("send", "--to", collector.endpoint, "--json")
    assert status == 0
    assert json.loads(out)["in_use_by"] == [os.getpid()]
    assert collector.taken == names("dead")
    assert len(alive.take_all()) == 1
    status, _, err = run("send", "--to", collector.endpoint)
    assert status == 2
    assert f"is in use: what is in it belongs to living processes ({os.getpid()}), which send it" in err


def test_two_operators_send_nothing_twice(leave: Leave, collector: Collector, run: Run) -> None:
    """The second one finds the folders taken."""
    for prefix in "abcdef":
        leave(prefix)
    from telemetry.commands.main import main  # noqa: PLC0415 - the fixture's output is not for two

    threads = [
        threading.Thread(target=main, args=(["spool", "send", "--to", collector.endpoint],)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(collector.taken) == names(*"abcdef")


def test_several_destinations_are_never_mixed(
    leave: Leave, spool: Path, collector: Collector, run: Run
) -> None:
    """Another tenant's spans go where an operator says, a folder at a time; its name may be anything."""
    leave("a")
    leave("b", key="other")
    status, _, err = run("send", "--to", collector.endpoint)
    assert status == 2
    assert "has spans for several destinations: name the folder of one" in err
    folders = sorted(spool.iterdir())
    assert all(f"{folder}: 3 spans" in err for folder in folders)
    assert collector.requests == []
    saved = spool.parent / "of the dead host"
    folders[0].rename(saved)
    assert run("send", "--to", collector.endpoint, saved)[0] == 0
    assert not saved.exists()
    assert run("send", "--to", collector.endpoint)[0] == 0
    assert sorted(collector.taken) == names("a", "b")


def test_nothing_is_deleted_that_was_not_delivered(
    leave: Leave, spool: Path, collector: Collector, run: Run
) -> None:
    """A receiver that cannot be reached takes nothing; the next attempt sends everything."""
    leave("a", "b")
    before = files(spool)
    collector.stop()
    status, out, err = run("send", "--to", collector.endpoint, "--patience", "0.2")
    assert (status, out) == (1, "0 spans delivered, 0 rejected, 6 left\n")
    assert "the receiver did not take everything" in err
    assert files(spool) == before
    collector.start()
    assert run("send", "--to", collector.endpoint)[0] == 0
    assert collector.taken == names("a", "b")


def test_collector_that_is_down_for_a_moment_is_waited_for(
    leave: Leave, collector: Collector, run: Run
) -> None:
    """What was delivered before is not sent again."""
    leave("a", "b", "c")
    collector.script = lambda request: UNWELL if request.number in {2, 3} else ACCEPT
    status, out, _ = run("send", "--to", collector.endpoint)
    assert (status, out) == (0, "9 spans delivered, 0 rejected, 0 left\n")
    assert collector.taken == names("a", "b", "c")


def test_refused_batch_stays_and_the_others_are_sent(
    leave: Leave, spool: Path, collector: Collector, run: Run
) -> None:
    """Unlike the service, which drops it, an operator may find out what is wrong with it."""
    leave("a", "poison", "b")
    collector.script = lambda request: REFUSED if request.names == names("poison") else ACCEPT
    status, out, _ = run("send", "--to", collector.endpoint, "--json")
    report = json.loads(out)
    assert status == 1
    assert (report["delivered"], report["rejected"], report["left"]) == (6, 0, 3)
    assert "on purpose" in report["trouble"]
    assert collector.taken == names("a", "b")
    collector.script = lambda _: ACCEPT
    assert run("send", "--to", collector.endpoint)[0] == 0
    assert collector.taken == names("a", "b", "poison")


def test_receiver_that_refuses_everything_is_not_asked_a_thousand_times(
    leave: Leave, collector: Collector, run: Run
) -> None:
    """Its credentials are wrong, or it is another server."""
    leave(*"abcdefgh")
    collector.script = lambda _: REFUSED
    status, out, err = run("send", "--to", collector.endpoint)
    assert (status, out) == (1, "0 spans delivered, 0 rejected, 24 left\n")
    assert "it refuses 3 batches in a row" in err
    assert len(collector.requests) == 3


def test_rejected_spans_are_counted_and_not_sent_again(
    leave: Leave, spool: Path, collector: Collector, run: Run
) -> None:
    """Partial success: the specification forbids a retry."""
    leave("a", "b")
    collector.script = lambda request: (
        Reply(body=partial_success(2, "too old")) if request.number == 1 else ACCEPT
    )
    status, out, _ = run("send", "--to", collector.endpoint)
    assert (status, out) == (0, "4 spans delivered, 2 rejected, 0 left\n")
    assert list(spool.iterdir()) == []


def test_damaged_records_stay(leave: Leave, spool: Path, collector: Collector, run: Run) -> None:
    """They were not delivered; `drop` deletes them."""
    leave("a", "b")
    damage_last(spool)
    status, out, err = run("send", "--to", collector.endpoint)
    assert (status, out) == (1, "3 spans delivered, 0 rejected, 0 left\n")
    assert "1 damaged records stay" in err
    assert collector.taken == names("a")
    assert run("verify")[0] == 1
    assert run("drop", "--yes")[0] == 0
    assert list(spool.iterdir()) == []


def test_argument_that_is_none_is_refused(leave: Leave, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is touched."""
    leave("a")
    for patience in ("nan", "-1", "long"):
        with pytest.raises(SystemExit, match="2"):
            run("send", "--to", "http://127.0.0.1:1", "--patience", patience)
        assert "argument --patience" in capsys.readouterr().err
    status, _, err = run("send", "--to", "nonsense://")
    assert status == 2
    assert "--to 'nonsense://': its scheme is neither http:// nor https://" in err


class Script:
    """A transport that answers as told, for payloads of any kind."""

    def __init__(self, *answers: ExportResult) -> None:
        self.answers = list(answers)

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Returns the next answer."""
        return self.answers.pop(0)

    def close(self) -> None:
        """Does nothing."""


def test_waits_grow_up_to_what_the_receiver_asked_for_and_the_patience() -> None:
    """On a clock of its own."""
    now = [0.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(round(seconds, 3))
        now[0] += seconds

    def sender(*answers: ExportResult) -> HandSender:
        options: Any = {"clock": lambda: now[0], "sleep": sleep, "jitter": lambda: 1.0}
        return HandSender(Script(*answers), timeout_seconds=1, patience_seconds=10, **options)

    busy = ExportResult(Disposition.THROTTLED, "busy", retry_after_seconds=5.0)
    down = ExportResult(Disposition.RETRYABLE, "down")
    taken = ExportResult(Disposition.DELIVERED)
    assert sender(down, down, busy, taken).send(b"", 3)
    assert waits == [0.1, 0.2, 5.0]
    with pytest.raises(GivenUpError, match="busy"):
        sender(busy, busy, busy).send(b"", 3)


def test_batch_that_is_too_large_is_halved() -> None:
    """Down to single spans; if one of them is refused, the record is not done."""
    too_large, taken = ExportResult(Disposition.TOO_LARGE, "too large"), ExportResult(Disposition.DELIVERED)
    sender = HandSender(Script(too_large, taken, taken), timeout_seconds=1, patience_seconds=1)
    assert sender.send(encoded("a"), 3)
    assert sender.delivered == 3
    sender = HandSender(Script(too_large, too_large, taken), timeout_seconds=1, patience_seconds=1)
    assert not sender.send(encoded("a"), 3)
    assert (sender.delivered, sender.refusal) == (2, "too large")
