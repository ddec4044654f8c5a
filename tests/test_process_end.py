"""Spans are sent at each ordinary end of a process: of children, by SIGTERM, and at exit."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.otlp_receiver import OtlpReceiver
from support.programs import run_program

CLIENT = """
    import concurrent.futures, multiprocessing, os, signal, sys, threading, time
    from telemetry.client import TelemetryClient

    def work(name):
        client = TelemetryClient()
        for number in range(3):
            with client.start_span(f"{name} {number}"):
                pass
"""


def names(*parts: str) -> Counter[str]:
    """Returns the names of the spans that `work` makes for these names, each once."""
    return Counter(f"{part} {number}" for part in parts for number in range(3))


WAYS = {
    "Process": """
        child = context.Process(target=work, args=("child",))
        child.start()
        child.join()
        assert child.exitcode == 0, child.exitcode
    """,
    "daemon": """
        child = context.Process(target=work, args=("child",), daemon=True)
        child.start()
        child.join()
    """,
    "Pool": """
        with context.Pool(1) as pool:
            pool.map(work, ["child"])
            pool.close()
            pool.join()
    """,
    "terminated Pool": """
        with context.Pool(1) as pool:
            pool.map(work, ["child"])
    """,
    "ProcessPoolExecutor": """
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
            list(executor.map(work, ["child"]))
    """,
    "sys.exit": """
        child = context.Process(target=leave, args=("child",))
        child.start()
        child.join()
        assert child.exitcode == 7, child.exitcode
    """,
    "an exception": """
        child = context.Process(target=fail, args=("child",))
        child.start()
        child.join()
        assert child.exitcode == 1, child.exitcode
    """,
    "a thread that ends later": """
        child = context.Process(target=work_in_thread, args=("child",))
        child.start()
        child.join()
        assert child.exitcode == 0, child.exitcode
    """,
}
MORE_WORK = """
    def leave(name):
        work(name)
        sys.exit(7)

    def fail(name):
        work(name)
        raise ValueError("on purpose")

    def work_in_thread(name):
        work(name)
        def later():
            time.sleep(0.3)
            work("thread")
        threading.Thread(target=later).start()
"""


CASES = [
    *(("fork", True, way) for way in WAYS),
    *(("fork", False, way) for way in ("Process", "ProcessPoolExecutor", "a thread that ends later")),
    *(("spawn", True, way) for way in ("Process", "a thread that ends later")),
    *(("forkserver", True, way) for way in ("Process", "Pool", "a thread that ends later")),
]


@pytest.mark.parametrize(("method", "is_set_up", "way"), CASES)
def test_multiprocessing_child_sends_its_spans_once(
    method: str, is_set_up: bool, way: str, tmp_path: Path, receiver: Any
) -> None:
    """However it is started and ends, and whether it inherits its parent's client or makes the first one."""
    source = f"""{CLIENT}{MORE_WORK}
    if __name__ == "__main__":
        context = multiprocessing.get_context("{method}")
        {'work("parent")' if is_set_up else ""}
        {WAYS[way].strip()}
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    expected = names("child", *["parent"] * is_set_up, *["thread"] * (way == "a thread that ends later"))
    assert Counter(receiver.names) == expected, output
    assert code == 0, output
    assert "Traceback" not in output or way == "an exception"


FORKS = {
    "falls off its end": "",
    "sys.exit": "sys.exit(0)",
    "in a multiprocessing child": "sys.exit(0)",
}


@pytest.mark.parametrize(("way", "end"), FORKS.items(), ids=FORKS.keys())
def test_child_of_os_fork_sends_its_spans_once(way: str, end: str, tmp_path: Path, receiver: Any) -> None:
    """As workers of prefork servers do, whatever kind of process forked it."""
    source = f"""{CLIENT}
    def fork():
        pid = os.fork()
        work("parent" if pid else "child")
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
        {end}
    if __name__ == "__main__":
        TelemetryClient()
        if "{way}" == "in a multiprocessing child":
            process = multiprocessing.get_context("fork").Process(target=fork)
            process.start()
            process.join()
        else:
            fork()
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    assert Counter(receiver.names) == names("child", "parent"), output
    assert (code, output) == (0, "")


def test_child_with_a_dead_collector_ends_in_time_and_its_spans_are_on_disk(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """The next process sends them."""
    source = f"""{CLIENT}
    if __name__ == "__main__":
        context = multiprocessing.get_context("fork")
        client = TelemetryClient()
        child = context.Process(target=work, args=("child",))
        child.start()
        child.join()
    """
    variables = {"TELEMETRY_SPOOL_DIR": str(tmp_path / "spool"), "TELEMETRY_SHUTDOWN_SECONDS": "1"}
    receiver.stop()
    code, output = run_program(source, tmp_path, receiver.endpoint, **variables)
    assert "3 unsent span(s) remain in the spool" in output
    receiver.start()
    source = """
    import time
    from telemetry.client import TelemetryClient
    client = TelemetryClient()
    client.start_serving()
    while client.pipeline.ledger.read().delivered < 3:
        time.sleep(0.01)
    """
    code, output = run_program(source, tmp_path, receiver.endpoint, **variables)
    assert Counter(receiver.names) == names("child"), output
    assert code == 0
