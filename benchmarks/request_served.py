"""Samples of a variant behind uvicorn: a server, and another process that loads it."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.request_variants import VARIANTS
from benchmarks.run import ROOT, Run, ask, clean_environment

_LOAD = "benchmarks.request_load"
_WARM_UP = {"requests": 400, "per_second": 1_000}
_MOST_DEVIATIONS = 6


class Server:
    """A server process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self._read())

    def flush(self) -> tuple[float, float, int]:
        """Lets it send its spans.

        Returns:
            Its seconds of CPU, those that it waited for a core, and its sampled spans, -1 if unknown.
        """
        if self._process.stdin is None:
            raise RuntimeError("the server has no input")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        used, waited, ended = self._read().split()
        return float(used), float(waited), int(ended)

    def _read(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the server has no output")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server has ended: {self._process.wait()}")
        return line


@contextmanager
def _serve(run: Run, variant: str, ratio: float, parser: str) -> Iterator[Server]:
    what = {"variant": variant, "ratio": ratio, "parser": parser}
    what |= {"grpc": run.receiver.grpc, "http": run.receiver.http}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.request_server", json.dumps(what)],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
            process.communicate(timeout=30)
        finally:
            process.kill()


def measure_served(
    run: Run, label: str, variant: str, *, ratio: float, parser: str, **load: Any
) -> dict[str, float]:
    """Takes one sample: the server's CPU microseconds a request, requests a second, and how long it waited.

    Args:
        run: keeps the sample.
        label: the sample's.
        variant: a key of `VARIANTS`.
        ratio: the share of traces to keep.
        parser: uvicorn's: `httptools` or `h11`.
        load: what `request_load.load` takes, without the port.

    Raises:
        SpansLostError: not every span arrived. The sample is not kept.
    """
    before = run.receiver.spans
    with _serve(run, variant, ratio, parser) as server:
        answered = ask(_LOAD, {"port": server.port, **_WARM_UP})["requests"]
        used, waited, _ = server.flush()
        sample = ask(_LOAD, {"port": server.port, **load})
        used_then, waited_then, ended = server.flush()
    answered += sample["requests"]
    run.check(label, _expected(variant, ratio, answered, ended), before)
    sample["waited"] = (waited_then - waited) / sample["seconds"]
    sample["us_per_request"] = (used_then - used) / sample["requests"] * 1e6
    run.samples[label].append(sample)
    return sample


def _expected(variant: str, ratio: float, requests: float, ended: int) -> float:
    """Returns how many spans must arrive; if chance decides, as many as the variant counted."""
    most = VARIANTS[variant].spans * requests
    if ratio in {0.0, 1.0}:
        return most * ratio
    if abs(ended - most * ratio) > _MOST_DEVIATIONS * math.sqrt(most * ratio * (1 - ratio)):
        raise RuntimeError(f"{variant} sampled {ended} of {most:.0f} spans, with the ratio {ratio}")
    return ended
