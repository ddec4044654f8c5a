"""What Locust runs: the shoppers, and who listens to its events.

Run by `python -m loadtest`, which switches Locust's own telemetry off.
"""

from locust import events
from locust.argument_parser import LocustArgumentParser

from loadtest.recorder import Recorder
from loadtest.shapes import Shape
from loadtest.shopper import Shopper, pace

__all__ = ["Shopper"]  # Locust finds it here


def add_options(parser: LocustArgumentParser) -> None:
    """Adds what a run can be asked for, rate and shape also to Locust's page."""
    parser.add_argument("--rate", type=float, default=50.0, help="Requests a second, over all users")
    parser.add_argument(
        "--shape",
        choices=[shape.value for shape in Shape],
        default=Shape.STEADY.value,
        help="How the rate goes over the run",
    )
    for option, what in (
        ("--result-file", "Where to write the result"),
        ("--requests-file", "Where to write a line for each request"),
        ("--trace-url", "Where a trace is looked at, with {trace_id} in it"),
        ("--prometheus-url", "Where to send Locust's own statistics"),
    ):
        parser.add_argument(option, default="", help=what, include_in_web_ui=False)


recorder = Recorder()
for hook, listener in (
    (events.init_command_line_parser, add_options),
    (events.init, pace.crowd.listen),
    (events.init, recorder.open_file),
    (events.test_start, pace.note_start),
    (events.test_start, recorder.note_start),
    (events.request, recorder.note_request),
    (events.quitting, recorder.write_result),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call] # Locust's annotations are partial
