"""The file that Locust runs: the shoppers, and the listeners to its events.

Run by `python -m loadtest`, which switches Locust's own telemetry off.
"""

from locust import events
from locust.argument_parser import LocustArgumentParser

from loadtest.load.arguments import http_url, positive_number, trace_template
from loadtest.load.last_reports import LastReports
from loadtest.load.publisher import Publisher
from loadtest.load.recorder import Recorder
from loadtest.load.shapes import Shape
from loadtest.load.shopper import Shopper, links, pace

__all__ = ["Shopper"]  # Locust finds it here


def add_options(parser: LocustArgumentParser) -> None:
    """Adds a run's options to the command line; rate and shape are on Locust's page, too."""
    parser.add_argument(
        "--rate",
        type=positive_number,
        default=50.0,
        env_var="LOCUST_RATE",
        help="Requests a second, over all users",
    )
    parser.add_argument(
        "--shape",
        choices=[shape.value for shape in Shape],
        default=Shape.STEADY.value,
        env_var="LOCUST_SHAPE",
        help="How the rate goes over the run; without a run time it repeats every 300 s",
    )
    for option, value_type, what in (
        ("--result-file", str, "Where to write the result"),
        (
            "--requests-file",
            str,
            "Where to write a line for each request; workers add -1, -2 … to its name",
        ),
        ("--trace-url", trace_template, "Where a trace is looked at, with {trace_id} in it"),
        ("--prometheus-url", http_url, "The Prometheus that Locust's own statistics are pushed to"),
    ):
        variable = "LOCUST_" + option.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(
            option, type=value_type, default="", env_var=variable, help=what, include_in_web_ui=False
        )


last_reports = LastReports()
recorder = Recorder(last_reports)
publisher = Publisher(pace)
for hook, listener in (
    (events.init_command_line_parser, add_options),
    (events.init, pace.crowd.listen),
    (events.init, last_reports.listen),
    (events.init, recorder.open_file),
    (events.init, publisher.begin),
    (events.test_start, pace.note_start),
    (events.test_start, links.note_start),
    (events.test_start, recorder.note_start),
    (events.request, recorder.note_request),
    (events.report_to_master, recorder.report_to_master),
    # Added here, these precede the listener of Locust's own statistics, which is added with its runner.
    (events.worker_report, links.unite),
    (events.worker_report, recorder.note_report),
    # Called in reverse order; the runner's own listener, added later, has ended the run by then.
    (events.quitting, recorder.write_result),
    (events.quitting, publisher.end),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call] # Locust's annotations are partial
