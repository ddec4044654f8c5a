"""SIGTERM ends programs that do not handle it as before, but their spans are sent first."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from support.otlp_receiver import OtlpReceiver, never_answer
from support.programs import run_program, start_program

CLIENT = """
    import asyncio, multiprocessing, os, signal, sys, threading, time
    from telemetry.client import TelemetryClient

    def end_spans(name, number=5):
        client = TelemetryClient()
        for each in range(number):
            client.start_span(name).__enter__().end()
"""


def terminate(process: "subprocess.Popen[str]", mark: str = "ready\n") -> str:
    """Sends SIGTERM once the program has printed the mark; returns what it printed after that."""
    assert process.stdout is not None
    assert process.stdout.readline() == mark
    process.send_signal(signal.SIGTERM)
    # `communicate` would lose what was read together with the mark; the end of a hanging test is pytest's.
    output = process.stdout.read()
    process.wait(30)
    return output


WAITS = {
    "asleep": "time.sleep(60)",
    "busy": "while True: pass",
    "in a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "joining": "t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start(); t.join()",
    "in a loop of asyncio": "asyncio.run(asyncio.sleep(60))",
    "within a span": "TelemetryClient().start_span('open').__enter__(); time.sleep(60)",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_script_sends_its_spans_and_dies_of_the_signal(wait: str, tmp_path: Path, receiver: Any) -> None:
    """Whatever its main thread does; nothing after that is executed."""
    source = f"""{CLIENT}
    end_spans("work")
    print("ready", flush=True)
    {wait}
    print("after the signal")
    """
    with start_program(source, tmp_path, receiver.endpoint) as process:
        output = terminate(process)
    assert receiver.names == ["work"] * 5, output
    assert process.returncode == -signal.SIGTERM
    assert output == ""


@pytest.mark.parametrize("is_spooled", [False, True], ids=["no spool", "spool"])
@pytest.mark.parametrize("is_silent", [False, True], ids=["nobody listens", "no answer"])
def test_dead_collector_delays_the_end_by_the_shutdown_timeout_at_most(
    is_silent: bool, is_spooled: bool, tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """What cannot be sent is in the spool, if there is one, and otherwise counted and told."""
    source = f"""{CLIENT}
    end_spans("work")
    print("ready", flush=True)
    time.sleep(600)
    """
    is_over = threading.Event()
    if is_silent:
        receiver.answer = never_answer(is_over)
    else:
        receiver.stop()
    variables = {"TELEMETRY_SHUTDOWN_SECONDS": "1", "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    if is_spooled:
        variables["TELEMETRY_SPOOL_DIR"] = str(tmp_path / "spool")
    with start_program(source, tmp_path, receiver.endpoint, **variables) as process:
        output = terminate(process)  # waits half a minute at most
    is_over.set()
    assert process.returncode == -signal.SIGTERM
    told = "5 unsent span(s) remain in the spool" if is_spooled else "shutdown dropped 5 span(s)"
    assert told in output
    assert "Traceback" not in output


def test_signal_while_the_library_holds_a_lock_loses_nothing(tmp_path: Path, receiver: Any) -> None:
    """The main thread gets out of the library's own code first, or the flush would wait for it."""
    source = f"""{CLIENT}
    import functools
    end_spans("work")
    ledger = TelemetryClient().pipeline.ledger
    ledger._clock = functools.partial(os.kill, os.getpid(), signal.SIGTERM)  # called with the lock held
    try:
        ledger.dropped_in_last_minute()
    except TypeError:
        ledger._clock = time.monotonic
    time.sleep(60)
    """
    variables = {"TELEMETRY_SHUTDOWN_SECONDS": "2"}
    assert run_program(source, tmp_path, receiver.endpoint, **variables) == (-signal.SIGTERM, "")
    assert receiver.names == ["work"] * 5


def test_signal_at_any_moment_loses_nothing(tmp_path: Path, receiver: Any) -> None:
    """Each span that had ended is sent, wherever its thread is interrupted."""
    source = f"""{CLIENT}
    client = TelemetryClient(max_queue_size=100_000)
    os.write(1, b"ready\\n")
    while True:
        client.start_span("work").__enter__().end()
        client.pipeline.ledger.read()
        os.write(1, b".")
    """
    counts = []
    for _ in range(10):
        with start_program(source, tmp_path, receiver.endpoint) as process:
            output = terminate(process)
        assert process.returncode == -signal.SIGTERM
        assert set(output) <= {"."}, output
        counts.append(output.count("."))
    ended, sent = sum(counts), len(receiver.names)
    assert 0 <= sent - ended <= len(counts), "the last span of each may have ended without its dot"


OWN_HANDLERS = {
    "set before": ("before", "sys.exit(0)"),
    "set after": ("after", "sys.exit(0)"),
    "that calls the one before": ("after", "previous(number, frame); is_over.append(1)"),
}


@pytest.mark.parametrize(("when", "action"), OWN_HANDLERS.values(), ids=OWN_HANDLERS.keys())
def test_applications_own_handler_decides(when: str, action: str, tmp_path: Path, receiver: Any) -> None:
    """It stays, its process ends as it likes, and the spans that end afterwards are sent, too."""
    install = """
    is_over = []
    previous = signal.getsignal(signal.SIGTERM)
    def handle(number, frame):
        {action}
    signal.signal(signal.SIGTERM, handle)
    """.replace("{action}", action)
    source = f"""{CLIENT}{install if when == "before" else ""}
    end_spans("work"){install if when == "after" else ""}
    assert signal.getsignal(signal.SIGTERM) is handle
    print("ready", flush=True)
    while not is_over:
        time.sleep(0.01)
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGTERM) is handle
    end_spans("later", 1)
    sys.exit(3)
    """
    with start_program(source, tmp_path, receiver.endpoint) as process:
        output = terminate(process)
    is_chained = "previous" in action
    assert receiver.names == ["work"] * 5 + ["later"] * is_chained, output
    assert process.returncode == (3 if is_chained else 0), output


def test_loops_handler_decides(tmp_path: Path, receiver: Any) -> None:
    """A graceful program of asyncio ends in its own time."""
    source = f"""{CLIENT}
    async def main():
        end_spans("work")
        is_over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)
        print("ready", flush=True)
        await is_over.wait()
        end_spans("later", 1)
    asyncio.run(main())
    """
    with start_program(source, tmp_path, receiver.endpoint) as process:
        output = terminate(process)
    assert receiver.names == [*["work"] * 5, "later"], output
    assert process.returncode == 0


def test_default_action_that_is_wanted_back_stays(tmp_path: Path, receiver: Any) -> None:
    """`signal.signal(SIGTERM, SIG_DFL)` after the set-up takes the handler away for good."""
    source = f"""{CLIENT}
    end_spans("work")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_spans("more")
    print("ready", flush=True)
    time.sleep(60)
    """
    with start_program(source, tmp_path, receiver.endpoint) as process:
        terminate(process)
    assert process.returncode == -signal.SIGTERM
    assert receiver.names == []


def test_disabled_library_sets_no_handler(tmp_path: Path, receiver: Any) -> None:
    """Nor does one whose clients are made on other threads, where Python allows none."""
    source = f"""{CLIENT}
    thread = threading.Thread(target=end_spans, args=("work",))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    """
    assert run_program(source, tmp_path, receiver.endpoint) == (0, "")
    source = f"""{CLIENT}
    end_spans("work")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    """
    assert run_program(source, tmp_path, receiver.endpoint, OTEL_SDK_DISABLED="true") == (0, "")


def test_signal_during_the_exit_takes_effect_after_the_flush(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Neither the spans nor the signal get lost."""
    source = f"""{CLIENT}
    end_spans("work")
    """
    processes: list[subprocess.Popen[str]] = []

    def terminate_the_sender(_: Any) -> None:
        os.kill(processes[0].pid, signal.SIGTERM)

    receiver.answer = terminate_the_sender
    with start_program(source, tmp_path, receiver.endpoint) as process:
        processes.append(process)
        output, _ = process.communicate(timeout=30)
    assert receiver.names == ["work"] * 5
    assert (process.returncode, output) == (-signal.SIGTERM, "")


def test_child_that_is_terminated_at_once_ends_at_once(tmp_path: Path, receiver: Any) -> None:
    """The signal may come before the child has forgotten its parent's handler."""
    source = f"""{CLIENT}
    if __name__ == "__main__":
        end_spans("parent")
        context = multiprocessing.get_context("fork")
        for _ in range(100):
            child = context.Process(target=time.sleep, args=(60,))
            child.start()
            child.terminate()
            child.join()
            assert child.exitcode == -signal.SIGTERM, child.exitcode
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    assert (code, output) == (0, "")
    assert receiver.names == ["parent"] * 5


def test_child_that_has_no_spans_has_the_default_action(tmp_path: Path, receiver: Any) -> None:
    """Stuck in native code, where no handler runs, it can still be terminated; one with spans sends them."""
    source = f"""{CLIENT}
    def look(queue):
        queue.put(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        end_spans("child")
        queue.put(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        while True:
            time.sleep(0.01)  # a signal that arrives just before one long sleep would be handled after it
    if __name__ == "__main__":
        end_spans("parent")
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=look, args=(queue,))
        child.start()
        assert [queue.get(), queue.get()] == [True, False]
        child.terminate()
        child.join()
        assert child.exitcode == -signal.SIGTERM, child.exitcode
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    assert (code, output) == (0, "")
    assert sorted(receiver.names) == ["child"] * 5 + ["parent"] * 5
