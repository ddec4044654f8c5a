"""One variant, called in process: `python -m benchmarks.request_direct '{"variant": "ours", …}'`.

The application is called as a server would, with a scope and both functions of ASGI, so that nothing but the
application and its telemetry costs anything. The result is printed as JSON.
"""

import asyncio
import gc
import json
import logging
import sys
import time
from typing import Any

from benchmarks.request_variants import VARIANTS, Endpoints, build_app, instrument

_BURST = 100
_OK = 200


def measure(
    variant: str,
    ratio: float,
    grpc: str,
    http: str,
    requests: int,
    warm_up: int,
    per_second: float,
) -> dict[str, float]:
    """Measures the CPU microseconds a request over all threads, sending included.

    Requests come in bursts at a steady rate, so that batches are sent while others are answered.

    Args:
        variant: a key of `VARIANTS`.
        ratio: the share of traces to keep.
        grpc: the receiver's endpoint.
        http: its other one.
        requests: the number to measure.
        warm_up: the number to answer before that.
        per_second: the rate.
    """
    app = build_app()
    instrumented = instrument(app, variant, Endpoints(grpc, http), ratio)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def run() -> float:
        for number in range(warm_up):
            await app(_scope(number), receive, send)
        instrumented.flush()
        gc.collect()
        started, used = time.monotonic(), time.process_time()
        for number in range(requests):
            if number % _BURST == 0:
                # Not asyncio.sleep: its own cost would be part of the measurement.
                time.sleep(max(0.0, started + number / per_second - time.monotonic()))  # noqa: ASYNC251
            await app(_scope(number), receive, send)
        instrumented.flush()
        return time.process_time() - used

    used = asyncio.run(run())
    if statuses != [_OK] * (warm_up + requests):
        raise RuntimeError(f"{variant} answered {sorted(set(statuses))}")
    spans = VARIANTS[variant].spans * len(statuses) if ratio else 0
    return {"us_per_request": used / requests * 1e6, "spans": spans}


def _scope(number: int) -> dict[str, Any]:
    path = f"/items/{100_000 + number}"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"shop.example:8000"),
            (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate, br"),
            (b"connection", b"keep-alive"),
        ],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000 + number % 10_000),
        "state": {},
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.stdout.write(json.dumps(measure(**json.loads(sys.argv[1]))) + "\n")
