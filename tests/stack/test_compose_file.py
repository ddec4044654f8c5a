"""What compose.yaml promises, checked without an engine."""

import re
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from pydantic import ByteSize, TypeAdapter

from stack.service_variables import is_service_variable
from stack.settings import ENV_FILE, ROOT
from telemetry.config import TelemetryConfig

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(set(SERVICES) - {"collector-volume"})
SET_BY_THE_FILE = {
    "SERVICE_NAME",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "PROMETHEUS_MULTIPROC_DIR",
    "TELEMETRY_SPOOL_DIR",
}
NOT_OF_THE_STACK = re.compile(
    "OTEL_SERVICE_NAME|OTEL_EXPORTER_OTLP_(TRACES|METRICS)_.*|OTEL_EXPORTER_OTLP_(PROTOCOL|INSECURE|CERTIFICATE|CLIENT_.*)"
)
"""The file itself says where spans go; certificates are files, which the container does not have."""


def test_services_get_every_variable_of_the_library() -> None:
    """A new setting of the library must be named there, or it would do nothing in containers."""
    for name in ("storefront", "inventory"):
        passed = set(SERVICES[name]["environment"])
        assert {each for each in TelemetryConfig.variables() if not NOT_OF_THE_STACK.fullmatch(each)} <= (
            passed | SET_BY_THE_FILE
        )
        assert all(is_service_variable(each) for each in passed), "make up would not take it from the shell"


def test_what_the_file_does_not_set_comes_from_the_shell() -> None:
    """The file has no value of its own where `.env` or the user has one."""
    for name in ("storefront", "inventory"):
        valued = {key for key, value in SERVICES[name]["environment"].items() if value is not None}
        assert valued - {"INVENTORY_URL", "SHOP_DATABASE_DIR"} <= SET_BY_THE_FILE


def test_every_variable_of_the_file_is_in_dotenv() -> None:
    """`docker compose up` alone works, without make."""
    used = set(re.findall(r"\$\{(\w+)\}", (ROOT / "compose.yaml").read_text()))
    used.remove("COMPOSE_PROJECT_NAME")  # compose's own
    assert used
    assert used <= set(dotenv_values(ENV_FILE))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_container_has_no_more_rights_than_it_needs(name: str) -> None:
    """It is read-only, has no capabilities or new privileges, and limited memory, CPUs and processes."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"memory", "cpus", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    if name != "collector-volume":
        assert "cap_add" not in service
        assert "user" not in service or not service["user"].startswith(("0", "root"))
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", LASTING)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Each has a variable that moves it."""
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT\}:\d+", port), port


@pytest.mark.parametrize("name", LASTING)
def test_container_has_a_health_check(name: str) -> None:
    """Exceptions are images without a program to ask with, and Locust's workers, which have no port."""
    assert ("healthcheck" in SERVICES[name]) == (name not in {"collector", "toxiproxy", "locust-worker"})


def test_limits_of_the_whole_stack() -> None:
    """Without the load, the memory limits add up to at most 1.2 GiB."""
    values = dotenv_values(ENV_FILE)
    size = TypeAdapter(ByteSize)
    total = 0
    for name in LASTING:
        if "profiles" in SERVICES[name]:
            continue
        memory = SERVICES[name]["deploy"]["resources"]["limits"]["memory"]
        text = values[memory.strip("${}")] or ""
        total += size.validate_python(text.replace("m", "MiB"))
    assert total <= 1.2 * 2**30


@pytest.mark.parametrize("part", ["COLLECTOR", "JAEGER"])
def test_program_restrains_itself_before_its_container_is_full(part: str) -> None:
    """At least an eighth is left for memory outside Go's heap."""
    values = dotenv_values(ENV_FILE)
    limit = int((values[f"{part}_MEMORY"] or "").removesuffix("m"))
    assert int(values[f"{part}_MEMORY_LIMIT_MIB"] or "") <= 7 / 8 * limit


def test_configuration_is_mounted_read_only_and_exists() -> None:
    """A missing source would become an empty folder."""
    for name in LASTING:
        for volume in SERVICES[name].get("volumes", []):
            source, _, mode = (*volume.split(":"), "")[:3]
            if source.startswith("."):
                assert mode == "ro", volume
                assert (ROOT / source).exists(), volume
            else:
                assert source in COMPOSE["volumes"]


def test_images_are_pinned_in_dotenv() -> None:
    """The file itself has no version, and none is `latest`."""
    for name in LASTING:
        image = SERVICES[name]["image"]
        if "build" in SERVICES[name]:
            assert SERVICES[name]["build"]["args"] == {"PYTHON_IMAGE": "${PYTHON_IMAGE}"}
        else:
            assert re.fullmatch(r"[\w/.-]+:v?\$\{\w+_VERSION\}", image), image
