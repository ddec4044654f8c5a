"""One process that sends spans: `python -m benchmarks.recovery_process '{"endpoint": …, "protocol": …}'`.

It prints each state of its breaker, with the time, until its input ends; then the spans that it has lost.
"""

import json
import logging
import select
import sys
import time

from telemetry.client import TelemetryClient
from telemetry.export.breaker import Transition

_SECONDS_BETWEEN_SPANS = 0.05


def send_spans(endpoint: str, protocol: str) -> None:
    """Makes spans until the input ends.

    Args:
        endpoint: the receiver's.
        protocol: as in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    """
    client = TelemetryClient(
        service_name="benchmark",
        endpoint=endpoint,
        protocol=protocol,
        sampler="always_on",
        schedule_delay_ms=1_000,
    )

    def tell(transition: Transition) -> None:
        say({"state": transition.to_state, "at": time.time()})

    client.pipeline.breaker.add_listener(tell)
    say({"state": "closed", "at": time.time()})
    while not select.select([sys.stdin], [], [], _SECONDS_BETWEEN_SPANS)[0]:
        with client.start_span("work"):
            pass
    client.force_flush(30)
    ledger = client.pipeline.ledger.read()
    say({"ended": ledger.ended, "delivered": ledger.delivered})


def say(what: dict[str, object]) -> None:
    """Prints a line at once."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)  # fifty processes would all tell of the outage
    send_spans(**json.loads(sys.argv[1]))
