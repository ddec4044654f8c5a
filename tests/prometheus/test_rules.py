"""Prometheus's rules use metrics that exist, have a runbook each, and pass promtool's tests."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from stack.native.programs import ensure_programs
from stack.settings import ROOT, load_settings
from telemetry.export.ledger import DropReason
from telemetry.metrics import names

FOLDER = ROOT / "prometheus"
RULES = [
    rule
    for file in sorted((FOLDER / "rules").iterdir())
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
TESTS = sorted((FOLDER / "tests").iterdir())
OF_THE_LIBRARY = {value for name, value in vars(names).items() if name.isupper()}
OF_OTHERS = {"up"}
NEVER, ALWAYS = "vector(1) > 2", "vector(1)"


@pytest.fixture(scope="module")
def promtool() -> Path:
    """The real program."""
    return ensure_programs(load_settings(), Console()).paths["promtool"]


def file_testing(alert: str) -> Path:
    """Returns the file that tests an alert."""
    (file,) = [each for each in TESTS if f"alertname: {alert}," in each.read_text()]
    return file


def run_tests(promtool: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Runs `promtool test rules`."""
    return subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_rule_is_over_metrics_that_exist(rule: dict[str, Any]) -> None:
    """They are the library's, the Collector's own, or recorded ones."""
    without_labels = re.sub(r"(by|on|ignoring|scalar) \([^)]*\)|\{[^}]*\}|\[[^]]*\]", "", rule["expr"])
    metrics = set(re.findall(r"[a-z][a-z0-9]*[_:][a-z0-9_:]+", without_labels))
    for metric in metrics - RECORDED - {"label_replace"}:
        if not metric.startswith("otelcol_"):
            assert re.sub(r"_(total|bucket|count|sum)$", "", metric) in OF_THE_LIBRARY, metric
    assert metrics or rule["expr"].startswith("vector") or 'up{job="collector"}' in rule["expr"]


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_says_how_grave_it_is_and_what_to_do(alert: str) -> None:
    """The runbook's URL points to a heading of the document."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    file, anchor = rule["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / file).read_text(), flags=re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert any(alert.startswith(heading) for heading in headings)


def test_every_runbook_is_of_an_alert() -> None:
    """No runbook is left for an alert that is gone."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/operations.md").read_text(), flags=re.MULTILINE)
    assert set(headings) <= ALERTS.keys()


def test_runbooks_name_dashboards_rows_and_panels_that_exist() -> None:
    """The names are those that Grafana and the console show."""
    dashboards = [json.loads(file.read_text()) for file in (ROOT / "grafana/dashboards").iterdir()]
    titles = {"dashboard": {each["title"] for each in dashboards}, "row": set(), "panel": set()}
    for each in dashboards:
        for panel in each["panels"]:
            titles["row" if panel["type"] == "row" else "panel"].add(panel["title"])
    document = " ".join((ROOT / "docs/operations.md").read_text().split())
    named = re.findall(r'(dashboard|row|panel)s? ("[^"]+"(?:(?:,| and) "[^"]+")*)', document, re.IGNORECASE)
    assert {kind.lower() for kind, _ in named} == titles.keys()
    for kind, quoted in named:
        assert set(re.findall(r'"([^"]+)"', quoted)) <= titles[kind.lower()]


def test_runbooks_name_every_outcome_of_a_lost_span() -> None:
    """The table has a line for each."""
    document = (ROOT / "docs/operations.md").read_text()
    for reason in DropReason:
        assert f"| `dropped_{reason.value}` |" in document


@pytest.mark.stack
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_stay_silent_and_resolve(file: Path, promtool: Path) -> None:
    """`prometheus/tests` says when, second by second."""
    judged = run_tests(promtool, file)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.stack
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("expression", [NEVER, ALWAYS])
@pytest.mark.parametrize("alert", ALERTS)
def test_alert_that_never_or_always_fires_is_found(
    alert: str, expression: str, promtool: Path, tmp_path: Path
) -> None:
    """The tests see each alert both firing and silent."""
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    file = tmp_path / "rules" / "alerts.yaml"
    rules = yaml.safe_load(file.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = expression
    file.write_text(yaml.safe_dump(rules))
    test = tmp_path / "tests" / file_testing(alert).name
    test.parent.mkdir()
    shutil.copy(file_testing(alert), test)
    judged = run_tests(promtool, test)
    assert judged.returncode == 1
    assert alert in judged.stdout + judged.stderr
