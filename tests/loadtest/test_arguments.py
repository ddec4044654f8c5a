"""Which values the command line accepts, and the messages with which it rejects the others."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from support.free_ports import free_port
from support.load_runs import run_load
from support.service_processes import Shop
from typer.testing import CliRunner

from loadtest.__main__ import commands
from loadtest.load.arguments import http_url, positive_number, trace_template
from loadtest.load.generator import Load
from loadtest.load.shapes import Shape


@pytest.mark.parametrize(
    ("take", "text"),
    [
        (positive_number, "0"),
        (positive_number, "-3"),
        (positive_number, "nan"),
        (positive_number, "many"),
        (http_url, "localhost:9090"),
        (http_url, "ftp://localhost"),
        (trace_template, "http://localhost:16686/trace/"),
        (trace_template, "localhost/{trace_id}"),
    ],
)
def test_bad_value_is_refused_with_itself(take: Callable[[str], object], text: str) -> None:
    """The message contains the value."""
    with pytest.raises(argparse.ArgumentTypeError, match=text.replace("{", "[{]")):
        take(text)


def test_good_values_are_taken() -> None:
    """An empty address is accepted too, and means none."""
    assert positive_number("0.5") == 0.5
    assert http_url("http://127.0.0.1:9090") == "http://127.0.0.1:9090"
    assert http_url("") == trace_template("") == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--rate"),
        *(
            (command, option)
            for command in ("outage", "tune", "sampling")
            for option in ("--rate", "--seconds")
        ),
    ],
)
def test_what_no_bound_keeps_out_is_refused_too(arguments: tuple[str, str]) -> None:
    """Infinity is rejected before anything is started."""
    refused = CliRunner().invoke(
        commands(""), [*arguments, "inf"], env={"COLUMNS": "200", "TERM": "dumb", "STOREFRONT_PORT": "1"}
    )

    assert refused.exit_code == 2
    assert "inf is not a finite number" in refused.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "zigzag"], "'zigzag' is not one of"),
        (["--workers", "-1"], "should be greater than or equal to 0"),
        (["--rate", "0"], "should be greater than or equal to 0.01"),
        (["--prometheus-url", "prometheus"], "not an address such as"),
        (["--trace-url", "http://jaeger/"], "where a trace's id goes"),
    ],
)
@pytest.mark.parametrize("command", ["run", "ui"])
def test_command_line_refuses_in_words(command: str, arguments: list[str], words: str) -> None:
    """Bad values are rejected before anything is started."""
    refused = CliRunner().invoke(commands(""), [command, *arguments], env={"COLUMNS": "200", "TERM": "dumb"})

    assert refused.exit_code == 2
    assert words in " ".join(refused.output.replace("│", " ").split())


def test_workers_meet_on_this_machine_only() -> None:
    """Locust's own default is to bind every address."""
    command = Load(users=1, rate=1, storefront_port=8000, workers=2).command()

    assert command[command.index("--processes") + 1] == "2"
    assert command[command.index("--master-bind-host") + 1] == "127.0.0.1"
    ports = [command[command.index(f"--master-{which}port") + 1] for which in ("bind-", "")]
    assert ports[0] == ports[1]


def test_shape_is_followed_and_absent_prometheus_warned_of_once(busy_shop: Shop, tmp_path: Path) -> None:
    """A run in five steps makes three fifths of the requests; a missing Prometheus costs one line."""
    arguments = ("--users", "5", "--rate", "60", "--seconds", "3", "--shape", Shape.STEP.value)
    url = f"http://127.0.0.1:{free_port()}"
    run = run_load(busy_shop, tmp_path / "step.json", *arguments, "--prometheus-url", url)

    assert run.exit_status == 0, run.output
    assert run.result.requests == pytest.approx(0.6 * 60 * 3, rel=0.15)
    signs = ("WARNING", "ERROR", "Traceback", "export", "Prometheus")
    warnings = [line for line in run.output.splitlines() if any(sign in line for sign in signs)]
    assert len(warnings) == 1
    assert f"do not reach Prometheus: {url}" in warnings[0]
