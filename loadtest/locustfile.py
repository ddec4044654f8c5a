"""Shoppers, for Locust: they browse, order, look at their order, and get things wrong now and then.

Run by `python -m loadtest`, which switches Locust's own telemetry off. Nothing here sends
`traceparent`, for that would decide the shop's sampling; which trace a request became is read
from the `traceresponse` header of its answer.
"""

import random
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.report import FailedRequest, FailureCount, LoadResult, utc_from_timestamp

PRODUCTS_IN_STOCK = range(1, 12)
SOLD_OUT_PRODUCT = 12
UNKNOWN_PRODUCT = 999
NAMED_FAILURES = 10
"""The first failures are told one by one; later ones are counted."""


class Shopper(FastHttpUser):
    """One request a task, so that the tasks' rate is the requests' rate.

    A shopper starts a request every users/rate seconds. One that was held up makes up for one
    request at most: a shop that hung is not hit by all that was missed.
    """

    connection_timeout = 5.0
    network_timeout = 15.0

    def on_start(self) -> None:
        """Spreads the shoppers over the interval, or all would knock at the same moment."""
        self._order_id: int | None = None
        # Locust has patched it: only this shopper waits.
        time.sleep(random.random() * self._interval_seconds)  # noqa: S311 - no secret
        self._due = time.monotonic()

    def wait_time(self) -> float:
        """Returns the seconds until the next request is due."""
        now = time.monotonic()
        self._due = max(self._due + self._interval_seconds, now - self._interval_seconds)
        return max(0.0, self._due - now)

    @property
    def _interval_seconds(self) -> float:
        # Asked each time: on Locust's page users come and go while the test runs.
        users = crowd.size_seen_by(self.environment.runner)
        rate: float = self.environment.parsed_options.rate
        return max(users, 1) / rate

    @task(20)
    def browse(self) -> None:
        """Looks at the list."""
        self._ask("GET", "/products")

    @task(35)
    def look_at_product(self) -> None:
        """Looks at one product."""
        product_id = random.choice(PRODUCTS_IN_STOCK)  # noqa: S311 - no secret
        self._ask("GET", f"/products/{product_id}", name="/products/{product_id}")

    @task(20)
    def order(self) -> None:
        """Orders one to three pieces."""
        body = {"product_id": random.choice(PRODUCTS_IN_STOCK), "quantity": random.randint(1, 3)}  # noqa: S311 - no secret
        order = self._ask("POST", "/orders", json=body, expect=HTTPStatus.CREATED)
        if order is not None:
            self._order_id = order["id"]

    @task(15)
    def look_at_order(self) -> None:
        """Looks at the latest own order; who has none yet, browses."""
        if self._order_id is None:
            self.browse()
        else:
            self._ask("GET", f"/orders/{self._order_id}", name="/orders/{order_id}")

    @task(4)
    def follow_dead_link(self) -> None:
        """Looks at a product that the shop never had."""
        self._ask(
            "GET",
            f"/products/{UNKNOWN_PRODUCT}",
            name="/products/{product_id} (unknown)",
            expect=HTTPStatus.NOT_FOUND,
        )

    @task(4)
    def order_sold_out(self) -> None:
        """Orders what is sold out."""
        body = {"product_id": SOLD_OUT_PRODUCT, "quantity": 1}
        self._ask("POST", "/orders", name="/orders (sold out)", json=body, expect=HTTPStatus.CONFLICT)

    @task(2)
    def order_nonsense(self) -> None:
        """Sends an order that no shop can read."""
        body = {"product_id": "a kettle", "quantity": 0}
        expect = HTTPStatus.UNPROCESSABLE_ENTITY
        self._ask("POST", "/orders", name="/orders (malformed)", json=body, expect=expect)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        json: dict[str, Any] | None = None,
        expect: HTTPStatus = HTTPStatus.OK,
    ) -> dict[str, Any] | None:
        """Returns the answer's body when its status is the expected one, else reports a failure."""
        with self.client.request(
            method, path, name=name, json=json, catch_response=True, context={"expect": expect}
        ) as response:
            if response.status_code == expect:
                response.success()
                body: dict[str, Any] = response.json()
                return body
            if response.status_code:
                response.failure(f"answered {response.status_code} instead of {expect.value}")
            # Else no answer came, and Locust itself names the connection's error.
        return None


class Crowd:
    """How many shoppers there are on all workers together: a worker of its own accord knows only its own."""

    _MESSAGE = "crowd"

    def __init__(self) -> None:
        self._told = 0

    def size_seen_by(self, runner: Runner | None) -> int:
        """Returns the number over all workers, or until the master has told it, this process's."""
        own: int = runner.target_user_count if runner else 1
        return max(own, self._told) if isinstance(runner, WorkerRunner) else own

    def listen(self, environment: Environment, **_: Any) -> None:
        """Has a worker hear the master, and the master tell its workers whenever the number changed."""
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(self._MESSAGE, self._note)
        elif isinstance(runner, MasterRunner):
            environment.events.spawning_complete.add_listener(  # type: ignore[no-untyped-call] # as below
                lambda user_count, **_: runner.send_message(self._MESSAGE, user_count)
            )

    def _note(self, msg: Any, **_: Any) -> None:
        self._told = msg.data


class Recorder:
    """Notes what Locust's own statistics do not: provoked errors, and the traces of failures."""

    def __init__(self) -> None:
        self.note_start()

    def note_start(self, **_: Any) -> None:
        """Begins anew: on Locust's page one test may follow another."""
        self.started = self.ended = time.time()
        self.expected_errors: Counter[str] = Counter()
        self.first_failures: list[FailedRequest] = []

    def note_request(
        self,
        *,
        request_type: str,
        name: str,
        response: Any,
        exception: BaseException | None,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        """Notes one finished request."""
        self.ended = time.time()
        if exception is None:
            expect: HTTPStatus = context["expect"]
            if expect >= HTTPStatus.BAD_REQUEST:
                self.expected_errors[f"{request_type} {name}: {expect.value}"] += 1
        elif len(self.first_failures) < NAMED_FAILURES:
            self.first_failures.append(
                FailedRequest(
                    at=utc_from_timestamp(self.ended),
                    method=request_type,
                    name=name,
                    error=str(exception),
                    trace_id=read_trace_id(response),
                )
            )

    def write_result(self, environment: Environment, **_: Any) -> None:
        """Writes the result file, if one was asked for."""
        options = environment.parsed_options
        if not options or not options.result_file or environment.runner is None:
            return
        stats = environment.stats
        p50, p95, p99 = (stats.total.get_response_time_percentile(share) for share in (0.5, 0.95, 0.99))
        result = LoadResult(
            started=utc_from_timestamp(self.started),
            ended=utc_from_timestamp(self.ended),
            users=options.num_users,
            intended_rate=options.rate,
            achieved_rate=stats.total.num_requests / max(self.ended - self.started, 0.001),
            requests=stats.total.num_requests,
            failures=stats.total.num_failures,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            expected_errors=self.expected_errors,
            failures_by_name=[
                FailureCount(
                    method=error.method, name=error.name, error=str(error.error), count=error.occurrences
                )
                for error in stats.errors.values()
            ],
            first_failures=self.first_failures,
            script_errors=[str(error["msg"]) for error in environment.runner.exceptions.values()],
        )
        Path(options.result_file).write_text(result.model_dump_json(indent=2))


def read_trace_id(response: Any) -> str | None:
    """Reads the trace id of a `traceresponse` header, None without one (W3C Trace Context Level 2 draft)."""
    fields = str((getattr(response, "headers", None) or {}).get("traceresponse", "")).split("-")
    return fields[1] if len(fields) == 4 and len(fields[1]) == 32 else None  # noqa: PLR2004 - the header's format


def add_options(parser: LocustArgumentParser) -> None:
    """Adds the rate, also to Locust's page, and the file for the result."""
    parser.add_argument("--rate", type=float, default=50.0, help="Requests a second, over all users")
    parser.add_argument(
        "--result-file", default="", help="Where to write the result", include_in_web_ui=False
    )


crowd = Crowd()
recorder = Recorder()
for hook, listener in (
    (events.init_command_line_parser, add_options),
    (events.init, crowd.listen),
    (events.test_start, recorder.note_start),
    (events.request, recorder.note_request),
    (events.quitting, recorder.write_result),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call] # Locust's annotations are partial
