"""One variant behind uvicorn: `python -m benchmarks.request_server '{"variant": "ours", …}'`.

It prints its port. For each line that it reads, it sends what spans it has and prints the seconds of CPU that
it has used, those that it has waited for a core, and how many sampled spans have ended if the variant counts
them. The end of its input ends it.
"""

import gc
import json
import logging
import socket
import sys
import threading
import time

import uvicorn

from benchmarks.request_variants import Endpoints, build_app, instrument
from benchmarks.waiting import waited_seconds


def serve(variant: str, ratio: float, grpc: str, http: str, parser: str) -> None:
    """Serves until the input ends.

    Args:
        variant: a key of `VARIANTS`.
        ratio: the share of traces to keep.
        grpc: the receiver's endpoint.
        http: its other one.
        parser: `httptools` or `h11`; the event loop is uvloop, as uvicorn chooses by itself.
    """
    app = build_app()
    instrumented = instrument(app, variant, Endpoints(grpc, http), ratio)
    # Without the access log, since its line would cost each variant the same.
    server = uvicorn.Server(uvicorn.Config(app, http=parser, log_level=logging.WARNING, access_log=False))

    def answer() -> None:
        collecting = 0.0
        for _ in sys.stdin:
            instrumented.flush()
            ended = -1 if instrumented.ended is None else instrumented.ended()
            used, waited = time.process_time(), waited_seconds()
            # Otherwise the full collection that is due some time after a start falls into some samples.
            gc.collect()
            collected = time.process_time() - used
            say(f"{used - collecting} {waited} {ended}")
            collecting += collected
        server.should_exit = True

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=answer, daemon=True).start()
        say(str(listener.getsockname()[1]))
        server.run(sockets=[listener])


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    serve(**json.loads(sys.argv[1]))
