"""The promises of the configuration files, each of which is also checked by its own program."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from supervisor.options import UnhosedConfigParser

from stack.errors import StackError
from stack.native.commands import commands_of, scrape_targets
from stack.native.programs import Programs, ensure_programs
from stack.settings import ROOT, StackSettings, load_settings
from stack.supervision.command import Command
from stack.supervision.configuration import render_part, why_changed

YAML_FILES = ("collector/config.yaml", "jaeger/config.yaml", "prometheus/prometheus.yml")


@pytest.fixture(scope="module")
def built() -> dict[str, Path]:
    """The real programs."""
    return ensure_programs(load_settings(), Console()).paths


def environment_of(name: str, settings: StackSettings) -> dict[str, str]:
    """Returns the variables that the native runtime sets for a part."""
    names = ("otelcol-contrib", "jaeger", "prometheus", "promtool", "toxiproxy-server", "grafana")
    fake = Programs(dict.fromkeys(names, Path("/opt/bin/program")))
    (command,) = [each for each in commands_of(settings, fake, settings.stack_run_dir) if each.name == name]
    return dict(command.environment)


@pytest.mark.parametrize("file", YAML_FILES)
def test_file_parses_and_says_what_it_is(file: str) -> None:
    """Each file begins with a header and is a mapping."""
    text = (ROOT / file).read_text()
    assert text.startswith("# ")
    assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(("part", "file"), [("collector", YAML_FILES[0]), ("jaeger", YAML_FILES[1])])
def test_native_runtime_binds_every_address_to_loopback(
    part: str, file: str, settings: StackSettings
) -> None:
    """A variable whose default listens everywhere is set natively, and to loopback."""
    variables = re.findall(r"\$\{env:(\w+):-([^}]*)\}", (ROOT / file).read_text())
    environment = environment_of(part, settings)
    listening = {name for name, default in variables if default.startswith("0.0.0.0")}  # noqa: S104 - looked for
    assert listening
    for name in listening:
        assert environment[name].startswith("127.0.0.1"), name


@given(
    value=st.text(
        st.characters(
            exclude_categories=["Cs"], exclude_characters="\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
        )
    )
)
@example("1 #2")
@example("a ;b")
@example("100 %(here)s")
@example('it\'s "quoted" \\')
def test_supervisord_gives_a_part_every_value_as_it_is(value: str) -> None:
    """Comment, quotation and percent characters of its own configuration are preserved."""
    section = render_part(Command("part", ("program", value), {"NAME": value}), Path("/run"))
    parser = UnhosedConfigParser()
    parser.read_string(section)
    words = shlex.split(parser.get("program:part", "command") % {})
    assert words[0] == "/usr/bin/env"
    assert f"NAME={value}" in words
    assert words[-2:] == ["program", value]
    assert why_changed(section, section) == "it still ran with older settings"


def test_line_break_in_a_variable_is_refused_by_name() -> None:
    """The configuration has one line for it; the value may be a secret and is not shown."""
    with pytest.raises(StackError, match=r"^TOKEN has a line break in it") as caught:
        render_part(Command("part", ("program",), {"TOKEN": "secret\nline"}), Path("/run"))
    assert "secret" not in str(caught.value)


def test_no_variable_is_set_that_no_file_reads(settings: StackSettings) -> None:
    """A misspelt name in the runtime is found."""
    for part, file in (("collector", YAML_FILES[0]), ("jaeger", YAML_FILES[1])):
        read = set(re.findall(r"\$\{env:(\w+)", (ROOT / file).read_text()))
        assert set(environment_of(part, settings)) <= read
        by_default = {
            "JAEGER_UI_CONFIG",
            "COLLECTOR_MEMORY_LIMIT_MIB",
            "COLLECTOR_QUEUE_SPANS",
        }
        assert read <= set(environment_of(part, settings)) | by_default


def test_default_pipeline_keeps_every_trace() -> None:
    """Tail sampling would lose acknowledged spans when the Collector dies: it is not in the default."""
    pipelines = yaml.safe_load((ROOT / YAML_FILES[0]).read_text())["service"]["pipelines"]
    assert pipelines["traces"]["processors"] == ["memory_limiter"]


def test_queue_toward_jaeger_is_durable_and_patient() -> None:
    """It is on disk and retries for ever; without either, an outage loses acknowledged spans."""
    exporter = yaml.safe_load((ROOT / YAML_FILES[0]).read_text())["exporters"]["otlp_http/jaeger"]
    assert exporter["sending_queue"]["storage"] == "file_storage"
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


def test_both_runtimes_scrape_the_same_parts(settings: StackSettings) -> None:
    """The targets differ in addresses only."""
    compose = json.loads((ROOT / "prometheus/targets/compose.json").read_text())
    assert [target["labels"] for target in compose] == [
        target["labels"] for target in scrape_targets(settings)
    ]


def run_program(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs one of the real programs to its end."""
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.stack
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("part", "program", "file"),
    [("collector", "otelcol-contrib", YAML_FILES[0]), ("jaeger", "jaeger", YAML_FILES[1])],
)
def test_program_accepts_its_file_and_refuses_a_broken_one(
    part: str, program: str, file: str, built: dict[str, Path], settings: StackSettings, tmp_path: Path
) -> None:
    """The program's own `validate` decides, and it can fail."""
    environment = environment_of(part, settings)
    good = run_program([str(built[program]), "validate", "--config", str(ROOT / file)], environment)
    assert good.returncode == 0, good.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text((ROOT / file).read_text().replace("receivers: [otlp]", "receivers: [olpt]"))
    bad = run_program([str(built[program]), "validate", "--config", str(broken)], environment)
    assert bad.returncode != 0
    assert "olpt" in bad.stderr


@pytest.mark.stack
@pytest.mark.timeout(3600)
def test_promtool_accepts_prometheus_file_and_refuses_a_broken_one(
    built: dict[str, Path], tmp_path: Path
) -> None:
    """`promtool check config` reads the targets too."""
    good = run_program([str(built["promtool"]), "check", "config", str(ROOT / YAML_FILES[2])], {})
    assert good.returncode == 0, good.stderr
    broken = tmp_path / "prometheus.yml"
    broken.write_text(
        (ROOT / YAML_FILES[2]).read_text().replace("scrape_interval: 2s", "scrape_interval: soon")
    )
    bad = run_program([str(built["promtool"]), "check", "config", str(broken)], {})
    assert bad.returncode != 0
    assert "soon" in bad.stderr + bad.stdout
