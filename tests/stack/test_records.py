"""Records of how runs were started, and the run that a command without variables means."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stack import records
from stack.cli import cli
from stack.errors import StackError
from stack.lenient_settings import load_settings_anyway
from stack.records import all_records, environment_of_run, naming_the_run, recall, record_of
from stack.service_variables import service_variables
from stack.settings import ENV_FILE, StackSettings, load_settings

USUAL = {
    "WEB_CONCURRENCY": "2",
    "STOREFRONT_PORT": "9100",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
}
MOVED = {"PORT_OFFSET": "1000", "TAIL_SAMPLING_PERCENTAGE": "10"}


@pytest.fixture(autouse=True)
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of these tests' records, and a shell without the stack's variables."""
    before = dict(os.environ)
    for name in StackSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(records, "RECORDS", tmp_path / "runs")
    yield tmp_path / "runs"
    os.environ.clear()
    os.environ.update(before)


def start(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Records a run as `make up` with these variables does."""
    with monkeypatch.context() as shell:
        for name, value in variables.items():
            shell.setenv(name, value)
        record_of(load_settings()).keep()


def settings_of_a_later_shell(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[StackSettings, str]:
    """Returns the settings and the output of a command in a shell with these variables."""
    said = io.StringIO()
    with monkeypatch.context() as shell:
        environment: dict[str, str] = {**records.os.environ, **variables}
        shell.setattr(records.os, "environ", environment)
        recall(Console(file=said, width=200))
        found = {name: environment[name] for name in environment if name in USUAL | MOVED}
    with monkeypatch.context() as shell:
        for name, value in found.items():
            shell.setenv(name, value)
        return load_settings(), said.getvalue()


def test_later_shell_speaks_to_the_run(monkeypatch: pytest.MonkeyPatch, kept_in: Path) -> None:
    """It uses the run's ports and workers; the line that says so has no secrets, and the file is private."""
    start(monkeypatch, USUAL)
    settings, said = settings_of_a_later_shell(monkeypatch)
    assert (settings.web_concurrency, settings.storefront_port) == (2, 9100)
    assert "OTEL_EXPORTER_OTLP_HEADERS=… STOREFRONT_PORT=9100 WEB_CONCURRENCY=2" in said
    assert "secret" not in said
    (file,) = kept_in.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_variable_of_the_shell_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set on purpose."""
    start(monkeypatch, USUAL)
    settings, said = settings_of_a_later_shell(monkeypatch, WEB_CONCURRENCY="4")
    assert (settings.web_concurrency, settings.storefront_port) == (4, 9100)
    assert "this shell sets other values, but the run was started with WEB_CONCURRENCY=2\n" in said


@pytest.mark.parametrize("recorded", [{}, {"STOREFRONT_PORT": "9100"}])
def test_shell_that_looks_elsewhere_is_shown_where_the_run_is(
    recorded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even where only `.env` set the port."""
    start(monkeypatch, recorded)
    settings, said = settings_of_a_later_shell(monkeypatch, STOREFRONT_PORT="8999")
    assert settings.storefront_port == 8999
    port = recorded.get("STOREFRONT_PORT", "8000")
    assert f"this shell sets other values, but the run was started with STOREFRONT_PORT={port}\n" in said


def test_several_runs_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables the usual one is meant; the other one by the variable that moved it."""
    start(monkeypatch, USUAL)
    start(monkeypatch, MOVED)
    assert settings_of_a_later_shell(monkeypatch)[0].storefront_port == 9100
    moved, _ = settings_of_a_later_shell(monkeypatch, PORT_OFFSET="1000")
    assert (moved.storefront_port, moved.tail_sampling_percentage) == (9000, 10)
    unknown, said = settings_of_a_later_shell(monkeypatch, PORT_OFFSET="2000")
    assert (unknown.storefront_port, said) == (10000, "")


def test_several_moved_runs_want_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the usual one, though the project's name fits both."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "mine")
    start(monkeypatch, MOVED)
    start(monkeypatch, {"PORT_OFFSET": "2000"})
    with pytest.raises(StackError, match=r"several runs .* PORT_OFFSET=[12]000.*; PORT_OFFSET=[12]000"):
        settings_of_a_later_shell(monkeypatch)
    start(monkeypatch, USUAL)
    assert settings_of_a_later_shell(monkeypatch)[0].storefront_port == 9100


def test_run_is_found_however_its_folder_or_project_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The record and the shell may name the same run differently."""
    start(monkeypatch, USUAL)
    usual = str(load_settings().stack_run_dir)
    assert settings_of_a_later_shell(monkeypatch, STACK_RUN_DIR=usual)[0].storefront_port == 9100
    assert settings_of_a_later_shell(monkeypatch, STACK_RUN_DIR=f"{usual}-1000")[1] == ""
    start(monkeypatch, {**MOVED, "COMPOSE_PROJECT_NAME": "shop"})
    moved, _ = settings_of_a_later_shell(monkeypatch, COMPOSE_PROJECT_NAME="shop")
    assert moved.tail_sampling_percentage == 10
    moved, _ = settings_of_a_later_shell(monkeypatch, STACK_RUN_DIR=f"{usual}-1000")
    assert moved.tail_sampling_percentage == 10
    start(monkeypatch, {"STACK_RUN_DIR": str(tmp_path / "run"), "STOREFRONT_PORT": "9200"})
    monkeypatch.chdir(tmp_path)
    assert settings_of_a_later_shell(monkeypatch, STACK_RUN_DIR="run")[0].storefront_port == 9200


def test_recorded_value_holds_where_the_shell_says_a_malformed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of `.env` are not used, since the run is elsewhere."""
    start(monkeypatch, {**USUAL, "PORT_OFFSET": "1000"})
    for name, value in {"STOREFRONT_PORT": "web", "INVENTORY_PORT": "x", "PORT_OFFSET": "1000"}.items():
        monkeypatch.setenv(name, value)
    said = io.StringIO()
    found = load_settings_anyway(Console(file=said, width=200), recall(Console(quiet=True)))
    assert (found.storefront_port, found.inventory_port, found.web_concurrency) == (9100, 9001, 2)
    assert "ignored: STOREFRONT_PORT='web'" in said.getvalue()
    assert "ignored: INVENTORY_PORT='x'" in said.getvalue()
    assert "; the run was started with 9100" in said.getvalue()


def test_run_of_a_moved_folder_is_the_same_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept_in: Path
) -> None:
    """Its record is moved with it, and there is no second one."""
    start(monkeypatch, USUAL)
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(records, "ROOT", elsewhere)
    moved = load_settings(stack_run_dir=elsewhere / ".stack")
    assert [record.run_dir for record in all_records(Console(quiet=True))] == [elsewhere / ".stack"]
    with monkeypatch.context() as shell:
        for name, value in USUAL.items():
            shell.setenv(name, value)
        record_of(moved).keep()
    assert len(list(kept_in.iterdir())) == 1


def test_suggested_commands_name_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied as they are, they act on the run that the message is about."""
    words = "the collector is dead; `make start PART=collector` brings it back, `make up` too"
    assert naming_the_run(words) == words
    monkeypatch.setenv("PORT_OFFSET", "2000")
    assert naming_the_run(words) == (
        "the collector is dead; `make start PART=collector PORT_OFFSET=2000` brings it back, "
        "`make up PORT_OFFSET=2000` too"
    )


def test_limits_of_containers_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is started again has the memory that it had."""
    start(monkeypatch, {"COLLECTOR_MEMORY": "1g", "GRAFANA_ADMIN_PASSWORD": "secret", "UNRELATED": "1"})
    said = io.StringIO()
    (record,) = all_records(Console(quiet=True))
    assert record.variables == {"COLLECTOR_MEMORY": "1g", "GRAFANA_ADMIN_PASSWORD": "secret"}
    assert recall(Console(file=said, width=200)) == {**record.places, **record.variables}
    assert os.environ["COLLECTOR_MEMORY"] == "1g"
    assert "secret" not in said.getvalue()


def test_environment_of_a_run_is_that_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """This shell's own variables of the stack are hidden, and restored afterwards."""
    start(monkeypatch, MOVED)
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("UNRELATED", "1")
    (record,) = all_records(Console(quiet=True))
    with environment_of_run(record.variables):
        inside = load_settings()
        assert (inside.port_offset, inside.web_concurrency) == (1000, 1)
        assert os.environ["UNRELATED"] == "1"
    assert load_settings().web_concurrency == 3
    assert "PORT_OFFSET" not in os.environ


@pytest.mark.parametrize("is_named", [False, True])
def test_clean_without_a_name_cleans_every_run(
    is_named: bool, tmp_path: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved runs and the usual one are cleaned; with a name, that run alone."""
    usual = tmp_path / "stack"
    file = tmp_path / "env"
    file.write_text(f"{ENV_FILE.read_text()}\nSTACK_RUN_DIR={usual}\nCOMPOSE_PROJECT_NAME=test-of-records\n")
    monkeypatch.setitem(StackSettings.model_config, "env_file", file)
    monkeypatch.setattr("stack.service_variables.ENV_FILE", file)
    monkeypatch.setattr(StackSettings.model_fields["stack_run_dir"], "default", usual)
    folders = [usual, *(usual.with_name(f"stack-{offset}") for offset in (1000, 2000, 3000))]
    for offset in (1000, 2000):
        start(monkeypatch, {"PORT_OFFSET": str(offset)})
    for folder in folders:
        folder.mkdir()
    (kept_in / "broken.json").write_text("{")
    if is_named:
        monkeypatch.setenv("PORT_OFFSET", "2000")
    done = CliRunner().invoke(cli, ["clean"])
    assert done.exit_code == 0, done.output
    expected = [True, True, False, True] if is_named else [False] * 4  # the last one is not recorded
    assert [folder.exists() for folder in folders] == expected
    assert len(all_records(Console(quiet=True))) == (1 if is_named else 0)
    assert kept_in.exists() == is_named


def test_forgotten_run_is_spoken_to_no_more(monkeypatch: pytest.MonkeyPatch, kept_in: Path) -> None:
    """`make down` removes its record, and the folder with the last one."""
    start(monkeypatch, USUAL)
    record_of(load_settings()).forget()
    assert not kept_in.exists()
    assert settings_of_a_later_shell(monkeypatch) == (load_settings(), "")


def test_record_is_brought_back_as_it_was(monkeypatch: pytest.MonkeyPatch, kept_in: Path) -> None:
    """After an interrupted `up`, it describes what runs."""
    start(monkeypatch, USUAL)
    undo = record_of(load_settings()).as_it_is()
    start(monkeypatch, {"STOREFRONT_PORT": "9500"})
    undo()
    assert settings_of_a_later_shell(monkeypatch)[0].storefront_port == 9100
    record_of(load_settings()).forget()
    undo_first = record_of(load_settings()).as_it_is()
    start(monkeypatch, USUAL)
    undo_first()
    assert not kept_in.exists()


def test_damaged_record_is_reported_and_ignored(monkeypatch: pytest.MonkeyPatch, kept_in: Path) -> None:
    """The other records are still used."""
    start(monkeypatch, USUAL)
    (kept_in / "broken.json").write_text("{")
    settings, said = settings_of_a_later_shell(monkeypatch)
    assert settings.storefront_port == 9100
    assert "not the record of a run" in said


def test_offset_moves_a_whole_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port, the folder and the containers' project move, except for explicit values."""
    usual = load_settings()
    monkeypatch.setenv("PORT_OFFSET", "1000")
    monkeypatch.setenv("GRAFANA_PORT", "3001")
    moved = load_settings()
    ports = {name for name in StackSettings.model_fields if name.endswith("_port")}
    assert len(ports) == 19
    for name in ports - {"grafana_port"}:
        assert getattr(moved, name) == getattr(usual, name) + 1000
    assert moved.grafana_port == 3001
    assert moved.stack_run_dir.name == ".stack-1000"
    assert moved.compose_project_name == "fastapi-telemetry-1000"
    assert not {"STOREFRONT_PORT", "COLLECTOR_VERSION"} & service_variables(moved).keys()


@pytest.mark.parametrize("value", ["1000.0", " 1000", "1_000"])
def test_offset_is_one_number_however_it_is_written(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports and folder are always those of the same stack."""
    monkeypatch.setenv("PORT_OFFSET", value)
    moved = load_settings()
    assert (moved.port_offset, moved.storefront_port, moved.stack_run_dir.name) == (1000, 9000, ".stack-1000")


@pytest.mark.parametrize("offset", range(1000, 5000, 1000))
def test_moved_stack_stands_beside_the_usual_one(offset: int) -> None:
    """The two have no port in common."""
    stacks = load_settings(), load_settings(port_offset=offset)
    ports = [
        {getattr(each, name) for name in StackSettings.model_fields if name.endswith("_port")}
        for each in stacks
    ]
    assert ports[1] == {port + offset for port in ports[0]}
    assert not ports[0] & ports[1]


def test_offset_that_is_too_large_names_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports end at 65535."""
    monkeypatch.setenv("PORT_OFFSET", "60000")
    with pytest.raises(
        StackError, match=r"PORT_OFFSET=60000 moves .* is the largest offset that fits them all"
    ):
        load_settings()
