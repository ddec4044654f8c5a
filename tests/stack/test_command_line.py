"""`python -m stack` and the Makefile, as a user calls them: output and exit status."""

import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stack.lenient_settings import load_settings_anyway
from stack.settings import ENV_FILE, ROOT, StackSettings


def call(*arguments: str, settings: StackSettings, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command on the test's own ports and run folder."""
    ports = {
        name.upper(): str(getattr(settings, name))
        for name in StackSettings.model_fields
        if name.endswith("_port")
    }
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, **ports, "STACK_RUN_DIR": str(settings.stack_run_dir), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def stack(*arguments: str, settings: StackSettings, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m stack`."""
    return call(sys.executable, "-m", "stack", *arguments, settings=settings, **variables)


def test_status_of_nothing_shows_every_part_stopped_and_fails(settings: StackSettings) -> None:
    """A script can ask whether the stack is up."""
    done = stack("status", settings=settings)
    assert done.returncode == 1
    assert done.stdout.count("stopped") == 6


def test_down_is_harmless_when_nothing_is_up(settings: StackSettings) -> None:
    """It may even be called twice."""
    assert stack("down", settings=settings).returncode == 0
    assert stack("down", settings=settings).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kill", "nonsense"), "there is no part 'nonsense'"),
        (("kill", "collector"), "`make up STACK_RUN_DIR={run} COMPOSE_PROJECT_NAME={project}` starts it"),
        (("pause", "console"), "`make up STACK_RUN_DIR={run} COMPOSE_PROJECT_NAME={project}` starts it"),
        (("start", "collector"), "`make up STACK_RUN_DIR={run} COMPOSE_PROJECT_NAME={project}` starts it"),
        (
            ("logs", "nonsense"),
            "PART is one of storefront, inventory, collector, jaeger, prometheus, console",
        ),
        (("logs", "collector"), "has no log yet"),
        (("logs", "console"), "has no log yet"),
    ],
)
def test_failure_is_reported_without_a_stack_trace(
    arguments: tuple[str, ...], words: str, settings: StackSettings
) -> None:
    """The message has the problem and the remedy, and the exit status is 1."""
    done = stack(*arguments, settings=settings)
    assert done.returncode == 1
    run = {"run": settings.stack_run_dir, "project": os.environ["COMPOSE_PROJECT_NAME"]}
    assert words.format(**run) in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_taken_port_of_the_console_is_reported_before_anything_is_started(settings: StackSettings) -> None:
    """The message names the variable that moves it."""
    with socket.create_server(("127.0.0.1", settings.console_port)):
        done = stack("up", settings=settings, RUNTIME="native")
    assert done.returncode == 1
    assert f"port {settings.console_port} is in use" in done.stdout
    assert "CONSOLE_PORT" in done.stdout
    assert "Nothing was started." in done.stdout
    assert not settings.stack_run_dir.exists()


def test_bad_port_is_reported(settings: StackSettings) -> None:
    """The message has the variable and its value, before anything is started."""
    done = stack("up", settings=settings, STOREFRONT_PORT="web", RUNTIME="native")
    assert done.returncode == 1
    assert "STOREFRONT_PORT='web'" in done.stdout


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("status", "STOREFRONT_PORT", "web"),
        ("down", "STOREFRONT_PORT", "web"),
        ("clean", "STOREFRONT_PORT", "web"),
        ("logs", "STOREFRONT_PORT", "web"),
        ("down", "WEB_CONCURRENCY", "-1"),
        ("down", "TELEMETRY_ENV", "/nowhere/recommended.env"),
        ("down", "JAEGER_PORT", "8000"),
    ],
)
def test_malformed_variable_stops_no_way_to_look_or_to_stop(
    command: str, variable: str, value: str, settings: StackSettings
) -> None:
    """It is named with its value, and ignored."""
    others = {"STOREFRONT_PORT": "8000"} if variable == "JAEGER_PORT" else {}  # two of the same
    part = ("collector",) if command == "logs" else ()
    done = stack(command, *part, settings=settings, **others, **{variable: value})
    assert f"ignored: {variable}" in done.stdout or (others and "are both 8000" in done.stdout)
    assert value in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    expected = {"status": "stopped", "logs": "has no log yet"}.get(command)
    assert done.returncode == (0 if expected is None else 1)
    assert expected is None or expected in done.stdout


DOCKER = """\
#!/bin/sh
echo "$@" >>{calls}
case "$1 $2" in
"ps --all") [ -n "$OTHERS" ] && echo 1 ;;
"inspect 1") echo '[{{"Id": "1", "State": {{"Running": true, "Paused": false}}, "Config": {{"Labels": {{
"com.docker.compose.container-number": "1", "com.docker.compose.service": "jaeger",
"com.docker.compose.project.working_dir": "/elsewhere"}}}}}}]' ;;
esac
exit 0
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that logs its calls and has no containers or, with OTHERS set, another checkout's."""
    calls, program = tmp_path / "calls", tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(calls=calls))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize("command", ["down", "clean", "status"])
def test_no_test_speaks_to_the_users_own_project(command: str, docker: Path, settings: StackSettings) -> None:
    """A stack that runs while its checkout is tested is left alone."""
    stack(command, settings=settings)
    calls = docker.read_text()
    assert f"project={os.environ['COMPOSE_PROJECT_NAME']}" in calls
    assert not re.search(r"fastapi-telemetry(?!-test-)", calls)


def test_same_name_in_another_checkout_hides_nothing_of_this_one(
    docker: Path, settings: StackSettings
) -> None:
    """Its containers are left alone, and this checkout's own run is cleaned."""
    settings.stack_run_dir.mkdir()
    (settings.stack_run_dir / "stack-run").touch()
    status = stack("status", settings=settings, OTHERS="1")
    assert "runtime: native" in status.stdout
    done = stack("clean", settings=settings, OTHERS="1")
    assert done.returncode == 0, done.stdout
    assert "were started from /elsewhere: they stay" in done.stdout
    assert not settings.stack_run_dir.exists()
    assert not re.search(r"^(volume rm|image rm|compose .* down)", docker.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", ["down", "clean"])
@pytest.mark.parametrize("value", ["1OOO", "99999"])
def test_no_other_stack_is_stopped_where_the_meant_one_is_malformed(
    command: str, value: str, settings: StackSettings
) -> None:
    """The command fails and says what is wrong."""
    done = stack(command, settings=settings, PORT_OFFSET=value)
    assert done.returncode == 1
    assert f"PORT_OFFSET='{value}'" in done.stdout
    assert "removed" not in done.stdout
    assert "is down" not in done.stdout


@pytest.mark.parametrize(
    ("line", "field", "expected"),
    [
        ("JAEGER_PORT=9090", "storefront_port", None),  # Prometheus's
        ("RUNTIME=foo", "runtime", ""),
        ("TELEMETRY_ENV=/nowhere", "telemetry_env", None),
        ("WEB_CONCURRENCY=-1", "web_concurrency", 1),
        ("STOREFRONT_PORT=web", "storefront_port", None),
    ],
)
def test_malformed_line_of_the_env_file_is_passed_over_too(
    line: str, field: str, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for valid settings ends, and the run folder is the usual one."""
    file = tmp_path / "env"
    file.write_text(ENV_FILE.read_text() + line + "\n")
    monkeypatch.setitem(StackSettings.model_config, "env_file", file)
    monkeypatch.setattr("stack.service_variables.ENV_FILE", file)
    said = io.StringIO()
    found = load_settings_anyway(Console(file=said, width=200))
    assert "ignored" in said.getvalue()
    assert found.stack_run_dir == ROOT / ".stack"
    assert expected is None or getattr(found, field) == expected
    assert field != "telemetry_env" or found.telemetry_env is None


def test_make_lists_its_targets_and_asks_for_the_part(settings: StackSettings) -> None:
    """`make` alone prints the help; a command that needs a part says so."""
    listed = call("make", settings=settings)
    assert listed.returncode == 0
    for target in ("up", "test", "test-stack", "load", "load-ui", "kill", "start", "logs", "status", "down"):
        assert f"make {target} " in listed.stdout
    assert Path(ROOT / "Makefile").read_text().count("\n.PHONY") >= 3
    nameless = call("make", "--dry-run", "kill", settings=settings)
    assert nameless.returncode != 0
    assert "PART=collector" in nameless.stderr
