"""The running containers: what compose.yaml promises, read from the engine and from the kernel."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ByteSize, TypeAdapter
from rich.console import Console
from support.running_stack import IN_CONTAINERS, Stack

from stack.compose import engine as engine_module
from stack.compose import runtime as runtime_module
from stack.compose.containers import file_variables, is_running
from stack.compose.engine import Engine
from stack.compose.runtime import STAND_IN_LABEL, ComposeRuntime
from stack.digests import written
from stack.errors import StackError
from stack.runtime import PartState
from stack.settings import load_settings

pytestmark = [pytest.mark.timeout(3600), IN_CONTAINERS]
PARTS = ("storefront", "inventory", "collector", "jaeger", "prometheus")
UNPRIVILEGED = 1000
"""User ids below are the machine's own."""
MEMORY_AT_REST_BYTES = 1.2 * 2**30


def container_of(stack: Stack, part: str) -> Mapping[str, Any]:
    """Returns the engine's description of a running container."""
    return Engine(stack.settings).containers()[part]


def promises_of(stack: Stack, part: str) -> Mapping[str, Any]:
    """Returns a service of compose.yaml, with its variables filled in."""
    configuration = json.loads(Engine(stack.settings).compose("config", "--format", "json"))
    promises: Mapping[str, Any] = configuration["services"][part]
    return promises


def kernel_status(container: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns the kernel's status of the container's first process."""
    lines = Path(f"/proc/{container['State']['Pid']}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


@pytest.mark.parametrize("part", PARTS)
def test_process_is_unprivileged(part: str, stack: Stack) -> None:
    """It is not root, has no capabilities, and cannot gain any."""
    status = kernel_status(container_of(stack, part))
    assert min(int(uid) for uid in status["Uid"].split()) >= UNPRIVILEGED
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("part", PARTS)
def test_root_file_system_is_read_only(part: str, stack: Stack) -> None:
    """Only volumes and the temporary folder can be written."""
    pid = container_of(stack, part)["State"]["Pid"]
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    (root,) = [fields[5] for fields in mounts if fields[4] == "/"]
    assert root.split(",")[0] == "ro"
    of_the_kernel = ("/proc", "/sys", "/dev")
    writable = {
        fields[4]
        for fields in mounts
        if fields[5].split(",")[0] == "rw" and not fields[4].startswith(of_the_kernel)
    }
    volumes = {each["target"] for each in promises_of(stack, part)["volumes"] if each["type"] == "volume"}
    given_by_the_engine = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
    assert writable - given_by_the_engine == {"/tmp", *volumes}  # noqa: S108 - the container's own


@pytest.mark.parametrize("part", PARTS)
def test_limits_are_enforced(part: str, stack: Stack) -> None:
    """Memory, processors and processes are those of .env; logs rotate."""
    limits = promises_of(stack, part)["deploy"]["resources"]["limits"]
    host = container_of(stack, part)["HostConfig"]
    assert host["Memory"] == int(limits["memory"]) > 0
    assert host["NanoCpus"] == float(limits["cpus"]) * 1e9 > 0
    assert host["PidsLimit"] == limits["pids"] > 0
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}


@pytest.mark.parametrize("part", PARTS)
def test_ports_are_bound_to_loopback_only(part: str, stack: Stack) -> None:
    """The published ports are exactly those of the settings."""
    bindings = container_of(stack, part)["NetworkSettings"]["Ports"].values()
    published = [each for binding in bindings if binding for each in binding]
    assert {each["HostIp"] for each in published} == {"127.0.0.1"}
    assert {int(each["HostPort"]) for each in published} == set(stack.runtime.endpoints[part].ports.values())


@pytest.mark.parametrize("part", PARTS)
def test_health_check_of_the_image_passes(part: str, stack: Stack) -> None:
    """The engine reports it; the Collector's image has no program to ask with."""

    def health() -> str | None:
        status: str | None = container_of(stack, part)["State"].get("Health", {}).get("Status")
        return status

    if part == "collector":
        assert health() is None
    else:  # the engine asks every few seconds
        stack.wait(f"the {part} healthy", lambda: health() == "healthy", seconds=60)


@pytest.mark.parametrize("part", PARTS)
def test_crash_is_mended_but_what_is_killed_stays_dead(part: str, stack: Stack) -> None:
    """The restart policy does both, since Docker counts `make kill` as a stop."""
    container = container_of(stack, part)
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_process_that_crashes_is_started_again(stack: Stack) -> None:
    """The engine starts another process without any help."""
    before = container_of(stack, "inventory")["State"]["Pid"]
    os.kill(before, 9)
    stack.wait(
        "another process of the inventory",
        lambda: container_of(stack, "inventory")["State"]["Pid"] not in {0, before},
        seconds=30,
    )
    stack.wait("every part up", lambda: all_up(stack), seconds=30)


def all_up(stack: Stack) -> bool:
    """Returns whether every part is up."""
    return all(each.state is PartState.UP for each in stack.runtime.status())


def test_kill_pause_resume_start_and_logs(stack: Stack) -> None:
    """Each does in containers what it does natively."""
    runtime = stack.runtime

    def state(part: str) -> PartState:
        return next(each.state for each in runtime.status() if each.part.name == part)

    runtime.pause("jaeger")
    assert state("jaeger") is PartState.PAUSED
    with pytest.raises(StackError, match="make resume PART=jaeger"):
        runtime.start("jaeger")
    assert runtime.resume("jaeger")
    assert not runtime.resume("jaeger"), "it was not frozen"
    assert state("jaeger") is PartState.UP
    assert runtime.pause("jaeger")
    assert not runtime.pause("jaeger"), "it was frozen already"
    assert runtime.kill("jaeger")
    assert state("jaeger") is PartState.STOPPED
    assert not runtime.kill("jaeger"), "it was dead already"
    with pytest.raises(StackError, match="make start PART=jaeger"):
        runtime.pause("jaeger")
    assert runtime.start("jaeger")
    assert not runtime.start("jaeger"), "it was up already"
    assert state("jaeger") is PartState.UP
    assert any("Everything is ready" in line for line in runtime.logs("collector", lines=200, follow=False))
    with pytest.raises(StackError, match="no part 'colector'"):
        runtime.kill("colector")


def test_whole_stack_at_rest_stays_within_its_size(stack: Stack) -> None:
    """All parts together, with Grafana's whole limit, stay within the size that README states."""
    used = {each.part.name: each.memory_bytes or 0 for each in stack.runtime.status()}
    assert all(used.values())
    grafana = TypeAdapter(ByteSize).validate_python("320MiB")
    assert sum(used.values()) + grafana <= MEMORY_AT_REST_BYTES


def test_volumes_belong_to_their_users(stack: Stack) -> None:
    """The Collector can write its queue, the services their data."""
    for part, target in (("collector", "/var/lib/otelcol/queue"), ("storefront", "/var/lib/service")):
        container = container_of(stack, part)
        (mount,) = [each for each in container["Mounts"] if each["Destination"] == target]
        assert Path(mount["Source"]).stat().st_uid == int(kernel_status(container)["Uid"].split()[0])


def test_flush_fits_into_the_grace_period(stack: Stack) -> None:
    """A stopped service ends by itself, with its spans delivered, and is not killed."""
    engine = Engine(stack.settings)
    engine.compose("stop", "inventory")
    state = container_of(stack, "inventory")["State"]
    stack.runtime.start("inventory")
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_locust_puts_its_rate_on_the_shop_with_two_workers(stack: Stack) -> None:
    """The rate is that of all workers together, however many there are."""
    engine = Engine(stack.settings)
    services = ("locust", "locust-worker")
    engine.compose(
        *("--profile", "load", "up", "--build", "--detach", "--wait", "--scale", "locust-worker=2", *services)
    )
    locust = f"http://127.0.0.1:{stack.settings.locust_port}"
    swarm = {"user_count": 20, "spawn_rate": 20, "rate": 30, "host": "http://storefront:8000"}

    def statistics() -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{locust}/stats/requests", trust_env=False).json()
        return found

    stack.wait("two workers of Locust", lambda: len(statistics()["workers"]) == 2, seconds=20)
    assert httpx.post(f"{locust}/swarm", data=swarm, trust_env=False).json()["success"]
    try:
        stack.wait("20 users", lambda: statistics()["user_count"] == 20, seconds=20)
        # Locust itself averages over 10 s.
        stack.wait("30 requests/s", lambda: 27 < statistics()["total_rps"] < 33, seconds=30)
        assert statistics()["fail_ratio"] == 0
    finally:
        engine.compose("--profile", "load", "rm", "--stop", "--force", *services)


def test_clean_removes_volumes_and_images_and_says_so(stack: Stack) -> None:
    """Everything of the project is removed, and nothing else."""
    engine = Engine(stack.settings)
    volumes, images = engine.volumes(), engine.built_images()
    assert stack.settings.compose_project_name + "-loadtest" in images
    removed = stack.runtime.clean()
    assert removed == [*(f"volume {name}" for name in volumes), *(f"image {name}" for name in images)]
    assert (engine.volumes(), engine.built_images(), engine.containers()) == ([], [], {})
    stack.runtime.up()


def test_data_outlives_down_and_not_clean(stack: Stack) -> None:
    """`down` keeps the volumes; `up` finds them again."""
    volumes = Engine(stack.settings).volumes()
    assert len(volumes) >= 4
    stack.runtime.down()
    assert Engine(stack.settings).containers() == {}
    assert Engine(stack.settings).volumes() == volumes
    stack.runtime.up()
    assert all_up(stack)


def test_stand_in_is_refused_by_up(stack: Stack, tmp_path: Path) -> None:
    """An interrupted `make test-compose` leaves images behind that are no stack for users."""
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nLABEL {STAND_IN_LABEL}=true\n")
    engine = Engine(stack.settings)
    engine.docker("build", "--quiet", "--tag", "prom/prometheus:v0.0.0", str(tmp_path))
    try:
        settings = load_settings(
            **{**stack.settings.model_dump(), "prometheus_version": "0.0.0", "compose_project_name": "other"}
        )
        with pytest.raises(StackError, match=r"stand-in for tests.*\n.*make up RUNTIME=native"):
            ComposeRuntime(settings, Console(quiet=True)).up()
    finally:
        engine.docker("image", "rm", "prom/prometheus:v0.0.0")


def test_containers_of_another_checkout_are_left_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two clones have one project name; the second says where the first is."""
    started_from = runtime_module.ROOT
    monkeypatch.setattr(runtime_module, "ROOT", tmp_path)
    for folder in ("collector", "jaeger", "prometheus", "grafana"):
        (tmp_path / folder).mkdir()
    before = Engine(stack.settings).containers().keys()
    for command in (stack.runtime.up, stack.runtime.down):
        with pytest.raises(StackError, match=f"were started from {started_from}: `make down` there"):
            command()
    assert not stack.runtime.is_up()
    assert stack.runtime.clean() == []
    assert Engine(stack.settings).containers().keys() == before


def test_image_that_cannot_be_had_is_named_with_the_native_way(stack: Stack) -> None:
    """The obstacle is found before anything is started."""
    values = {**stack.settings.model_dump(), "prometheus_version": "0.0.1", "compose_project_name": "other"}
    runtime = ComposeRuntime(
        load_settings(**values), Console(quiet=True), without=("grafana",), accepts_stand_ins=True
    )
    assert "prom/prometheus:v0.0.1 is not here and cannot be pulled" in (runtime.obstacle() or "")


def test_edited_file_restarts_the_part_that_reads_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is printed, and every other part goes on."""
    stack.runtime.up()  # others may have built the image
    before = {part: container_of(stack, part)["Id"] for part in PARTS}
    edited = {**file_variables(), "PROMETHEUS_FILES": written({"prometheus/rules": "another"})}
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "file_variables", lambda: edited)
        stack.runtime_of(stack.settings).up()
    after = {part: container_of(stack, part)["Id"] for part in PARTS}
    assert [part for part in PARTS if before[part] != after[part]] == ["prometheus"]
    assert "restarted the prometheus: prometheus/rules was edited\n" in capsys.readouterr().out
    stack.runtime_of(stack.settings).up()


def test_up_that_is_undone_leaves_what_ran_before(stack: Stack) -> None:
    """Parts that it started are dead again, and the others go on in the same containers."""
    stack.runtime.kill("prometheus")
    before = Engine(stack.settings).containers()
    undo = stack.runtime.as_it_is()
    stack.runtime.up()
    stack.runtime.kill("jaeger")  # as if it were replaced
    undo()
    after = Engine(stack.settings).containers()
    assert {part: is_running(after[part]) for part in PARTS} == {part: part != "prometheus" for part in PARTS}
    assert {part: after[part]["Id"] for part in PARTS} == {part: before[part]["Id"] for part in PARTS}
    stack.runtime.up()
    assert all_up(stack)


def test_first_up_that_is_undone_leaves_nothing(stack: Stack) -> None:
    """Containers and networks are removed; the data of an earlier run stays."""
    stack.runtime.down()
    volumes = Engine(stack.settings).volumes()
    undo = stack.runtime.as_it_is()
    stack.runtime.up()
    undo()
    assert Engine(stack.settings).containers() == {}
    assert Engine(stack.settings).volumes() == volumes
    stack.runtime.up()


def test_part_that_does_not_become_healthy_is_reported_with_its_output(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the failed part, quotes its output and suggests the native runtime."""
    monkeypatch.setenv("SHOP_INVENTORY_TIMEOUT_SECONDS", "never")
    with pytest.raises(StackError) as caught:
        stack.runtime_of(stack.settings).up()
    monkeypatch.undo()
    stack.runtime_of(stack.settings).up()
    message = str(caught.value)
    assert "storefront" in message
    assert "SHOP_INVENTORY_TIMEOUT_SECONDS" in message
    assert message.endswith("`make up RUNTIME=native`.")
