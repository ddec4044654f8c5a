"""Grafana's provisioning files have only keys that Grafana reads, and everything named exists."""

import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.native.commands import commands_of
from stack.native.programs import Programs
from stack.settings import ROOT, load_settings

PROVISIONING = ROOT / "grafana" / "provisioning"
DATASOURCES_FILE = PROVISIONING / "datasources" / "datasources.yaml"
DASHBOARDS_FILE = PROVISIONING / "dashboards" / "dashboards.yaml"
DATASOURCES: dict[str, Any] = yaml.safe_load(DATASOURCES_FILE.read_text())
DASHBOARDS: dict[str, Any] = yaml.safe_load(DASHBOARDS_FILE.read_text())
SETTINGS = ConfigParser(interpolation=None)
SETTINGS.read_string((ROOT / "grafana" / "grafana.ini").read_text())

# Grafana silently ignores unknown keys, such as misspelt ones. These are the keys of Grafana 13.2, from its
# documentation, "Provision Grafana"; from pkg/services/provisioning/{datasources,dashboards}; and for
# jsonData from the bundled plugins: PromOptions in grafana-prometheus's types.ts, JaegerJsonData in
# grafana-jaeger-datasource's datasource.ts, TraceToMetricsOptions in grafana-o11y-ds-frontend.
TEXT, FLAG, NUMBER = str, bool, int
HTTP_CLIENT = {"timeout": NUMBER, "tlsSkipVerify": FLAG, "serverName": TEXT, "oauthPassThru": FLAG}
TRACES_TO_METRICS = {
    "datasourceUid": TEXT,
    "tags": [{"key": TEXT, "value": TEXT}],
    "queries": [{"name": TEXT, "query": TEXT}],
    "spanStartTimeShift": TEXT,
    "spanEndTimeShift": TEXT,
}
JSON_DATA: dict[str, dict[str, Any]] = {
    "prometheus": {
        **HTTP_CLIENT,
        "manageAlerts": FLAG,
        "allowAsRecordingRulesTarget": FLAG,
        "timeInterval": TEXT,
        "queryTimeout": TEXT,
        "httpMethod": TEXT,
        "customQueryParameters": TEXT,
        "disableMetricsLookup": FLAG,
        "exemplarTraceIdDestinations": [
            {"name": TEXT, "datasourceUid": TEXT, "url": TEXT, "urlDisplayLabel": TEXT}
        ],
        "prometheusType": TEXT,
        "prometheusVersion": TEXT,
        "cacheLevel": TEXT,
        "defaultEditor": TEXT,
        "incrementalQuerying": FLAG,
        "incrementalQueryOverlapWindow": TEXT,
        "disableRecordingRules": FLAG,
        "seriesEndpoint": FLAG,
        "seriesLimit": NUMBER,
    },
    "jaeger": {
        **HTTP_CLIENT,
        "nodeGraph": {"enabled": FLAG},
        "spanBar": {"type": TEXT, "tag": TEXT},
        "traceIdTimeParams": {"enabled": FLAG},
        "tracesToMetrics": TRACES_TO_METRICS,
    },
}
DATASOURCES_SCHEMA: dict[str, Any] = {
    "apiVersion": NUMBER,
    "prune": FLAG,
    "deleteDatasources": [{"name": TEXT, "orgId": NUMBER}],
    "datasources": [
        {
            "name": TEXT,
            "type": TEXT,
            "access": TEXT,
            "orgId": NUMBER,
            "uid": TEXT,
            "url": TEXT,
            "user": TEXT,
            "database": TEXT,
            "basicAuth": FLAG,
            "basicAuthUser": TEXT,
            "withCredentials": FLAG,
            "isDefault": FLAG,
            "version": NUMBER,
            "editable": FLAG,
            "jsonData": dict,
            "secureJsonData": dict,
        }
    ],
}
DASHBOARDS_SCHEMA: dict[str, Any] = {
    "apiVersion": NUMBER,
    "providers": [
        {
            "name": TEXT,
            "orgId": NUMBER,
            "folder": TEXT,
            "folderUid": TEXT,
            "type": TEXT,
            "disableDeletion": FLAG,
            "updateIntervalSeconds": NUMBER,
            "allowUiUpdates": FLAG,
            "options": {"path": TEXT, "foldersFromFilesStructure": FLAG},
        }
    ],
}


def misfits(value: Any, schema: Any, where: str) -> Iterator[str]:
    """Yields a complaint for each key that the schema lacks and each value of another type."""
    if isinstance(schema, dict) and isinstance(value, dict):
        for key, inner in value.items():
            if key in schema:
                yield from misfits(inner, schema[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is unknown"
    elif isinstance(schema, list) and isinstance(value, list):
        for number, inner in enumerate(value):
            yield from misfits(inner, schema[0], f"{where}[{number}]")
    elif type(value) is not schema:
        yield f"{where} is {value!r}"


def datasource(uid: str) -> Mapping[str, Any]:
    """Returns the data source with that uid."""
    (found,) = [each for each in DATASOURCES["datasources"] if each["uid"] == uid]
    return found


@pytest.fixture
def container() -> Mapping[str, Any]:
    """Grafana's service in compose.yaml."""
    service: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    return service


@pytest.mark.parametrize("file", [DATASOURCES_FILE, DASHBOARDS_FILE], ids=lambda file: file.name)
def test_file_says_what_it_is(file: Path) -> None:
    """Each file begins with a header."""
    assert file.read_text().startswith("# ")


def test_every_key_is_one_that_grafana_reads() -> None:
    """Grafana would not complain about an unknown key."""
    assert not [*misfits(DATASOURCES, DATASOURCES_SCHEMA, "datasources.yaml")]
    assert not [*misfits(DASHBOARDS, DASHBOARDS_SCHEMA, "dashboards.yaml")]
    for each in DATASOURCES["datasources"]:
        assert not [*misfits(each["jsonData"], JSON_DATA[each["type"]], f"{each['name']}.jsonData")]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"apiVersion": 1, "purne": True}, "file.purne is unknown"),
        ({"datasources": [{"name": "a"}, {"isdefault": True}]}, "file.datasources[1].isdefault is unknown"),
        ({"prune": "yes"}, "file.prune is 'yes'"),
    ],
)
def test_misspelt_key_or_wrong_kind_would_be_found(value: Any, complaint: str) -> None:
    """The check itself can fail."""
    assert [*misfits(value, DATASOURCES_SCHEMA, "file")] == [complaint]


def test_every_data_source_that_is_referred_to_exists() -> None:
    """Exemplars link to traces, and traces back to metrics."""
    uids = [each["uid"] for each in DATASOURCES["datasources"]]
    assert len(set(uids)) == len(uids)
    exemplars = datasource("prometheus")["jsonData"]["exemplarTraceIdDestinations"]
    assert [each["datasourceUid"] for each in exemplars] == ["jaeger"]
    assert datasource("jaeger")["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"
    assert {datasource(uid)["type"] for uid in ("prometheus", "jaeger")} == {"prometheus", "jaeger"}
    assert [each["uid"] for each in DATASOURCES["datasources"] if each.get("isDefault")] == ["prometheus"]


def test_exemplars_are_found_by_the_label_that_they_carry() -> None:
    """telemetry/metrics/families.py writes that label."""
    (destination,) = datasource("prometheus")["jsonData"]["exemplarTraceIdDestinations"]
    assert f'"{destination["name"]}":' in (ROOT / "telemetry" / "metrics" / "families.py").read_text()
    assert destination["url"].endswith("/trace/$${__value.raw}")


def test_time_interval_is_the_scrape_interval() -> None:
    """Otherwise $__rate_interval would hold fewer scrapes than a rate needs."""
    prometheus = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    assert datasource("prometheus")["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_queries_from_a_span_are_over_the_span_metrics() -> None:
    """They use the span's tags; each `$` is doubled so that Grafana does not expand it."""
    links = datasource("jaeger")["jsonData"]["tracesToMetrics"]
    assert links["queries"]
    for link in links["queries"]:
        assert re.findall(r"(\w+)\{", link["query"])[0] in {
            "traces_span_metrics_calls_total",
            "traces_span_metrics_duration_seconds_bucket",
        }
        assert re.findall(r"\$+\w+", link["query"]) == ["$$__tags", "$$__rate_interval"]


@pytest.mark.parametrize("file", [DATASOURCES_FILE, DASHBOARDS_FILE], ids=lambda file: file.name)
def test_every_variable_is_set_by_compose(file: Path, container: Mapping[str, Any]) -> None:
    """Grafana would replace an unset variable with nothing."""
    without_comments = re.sub(r"(^|\s)#.*", "", file.read_text())
    used = set(re.findall(r"\$\{?(\w+)", without_comments.replace("$$", "")))
    assert used <= container["environment"].keys()


def test_dashboards_are_read_only_and_lie_where_compose_mounts_them(container: Mapping[str, Any]) -> None:
    """Both folders are mounted where the files and Grafana's image expect them."""
    mounts = {target: source for source, target, *_ in (volume.split(":") for volume in container["volumes"])}
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    (provider,) = DASHBOARDS["providers"]
    folder = container["environment"]["GRAFANA_DASHBOARDS_DIR"]
    assert provider["options"]["path"] == "$GRAFANA_DASHBOARDS_DIR"
    assert mounts[folder] == "./grafana/dashboards"
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    home = SETTINGS["dashboards"]["default_home_dashboard_path"]
    assert home == f"{folder}/service.json"


def test_natively_grafana_reads_the_same_files_on_loopback(tmp_path: Path) -> None:
    """All variables of the provisioning files and the container are set, with paths on this machine."""
    home = tmp_path / "grafana-13"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    names = ("otelcol-contrib", "jaeger", "prometheus", "toxiproxy-server")
    programs = Programs({**dict.fromkeys(names, Path("program")), "grafana": home / "bin" / "grafana"})
    settings = load_settings(stack_run_dir=tmp_path / "run")
    (command,) = [it for it in commands_of(settings, programs, tmp_path / "run") if it.name == "grafana"]
    assert command.arguments == (
        *(str(home / "bin" / "grafana"), "server", "--homepath", str(home)),
        *("--config", str(ROOT / "grafana" / "grafana.ini")),
    )
    environment = command.environment
    text = yaml.safe_dump([DATASOURCES, DASHBOARDS])
    read = set(re.findall(r"(?<!\$)\$([A-Z]\w+)", text))
    assert read == {"PROMETHEUS_URL", "JAEGER_URL", "JAEGER_PAGE_URL", "GRAFANA_DASHBOARDS_DIR"}
    assert read <= environment.keys()
    assert environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert environment["GF_PATHS_PROVISIONING"] == str(PROVISIONING)
    assert Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).is_file()
    assert Path(environment["GRAFANA_DASHBOARDS_DIR"], "service.json").is_file()
    for name in ("GF_PATHS_DATA", "GF_PATHS_LOGS", "GF_PATHS_PLUGINS"):
        assert Path(environment[name]).is_relative_to(tmp_path / "run")
    assert not any(name.startswith("GF_SECURITY") for name in environment), "no admin without a password"


def test_natively_too_a_password_makes_an_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are the container's."""
    monkeypatch.setenv("GRAFANA_ADMIN_PASSWORD", "a secret")
    names = ("otelcol-contrib", "jaeger", "prometheus", "toxiproxy-server", "grafana")
    found = Programs(dict.fromkeys(names, Path("/opt/bin/program")))
    commands = commands_of(load_settings(stack_run_dir=tmp_path), found, tmp_path)
    (environment,) = [each.environment for each in commands if each.name == "grafana"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == "a secret"  # noqa: S105 - of the test
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "false"


def test_nobody_is_admin_unless_a_password_is_given(container: Mapping[str, Any]) -> None:
    """Without one there is no `admin` with the password `admin`, and anonymous users can only view."""
    assert SETTINGS["security"]["disable_initial_admin_creation"] == "true"
    assert SETTINGS["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
    environment = container["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_ADMIN_PASSWORD:-}"  # noqa: S105 - empty
    for name in ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "GF_AUTH_DISABLE_LOGIN_FORM"):
        assert environment[name] == "${GRAFANA_ADMIN_PASSWORD:+false}"
