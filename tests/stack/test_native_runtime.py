"""The native runtime under a real supervisord, with the real services and stand-ins for the Go programs."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from rich.console import Console

from stack.digests import digests
from stack.errors import StackError
from stack.native import commands
from stack.native.programs import Programs
from stack.native.runtime import NativeRuntime
from stack.parts import MissingPart
from stack.settings import StackSettings
from stack.supervision import rpc

pytestmark = pytest.mark.timeout(120)
COLLECTOR_FILE = "collector/config.yaml"


def states(runtime: NativeRuntime) -> dict[str, str]:
    """Returns each part's state."""
    return {status.part.name: str(status.state) for status in runtime.status()}


def pid_of(runtime: NativeRuntime, name: str) -> int:
    """Returns the id of a part's process."""
    (pid,) = [status.pid for status in runtime.status() if status.part.name == name]
    assert pid is not None
    return pid


def supervisord_of(runtime: NativeRuntime) -> psutil.Process:
    """Returns the daemon that runs the parts."""
    parent = psutil.Process(pid_of(runtime, "jaeger")).parent()
    assert parent is not None
    return parent


def test_life_of_a_run(
    runtime: NativeRuntime, settings: StackSettings, programs: dict[str, Path], until: Callable[..., None]
) -> None:
    """Up, up again, kill, start, pause, resume, down: each does what it says and no more."""
    assert set(states(runtime).values()) == {"stopped"}
    changes: list[str] = []
    runtime.up(lambda: changes.append("begins"))
    assert changes == ["begins"]
    assert set(states(runtime).values()) == {"up"}
    assert (
        httpx.get(f"http://127.0.0.1:{settings.storefront_port}/healthz", trust_env=False).status_code == 200
    )

    before = {name: pid_of(runtime, name) for name in runtime.endpoints}
    runtime.up()
    assert {name: pid_of(runtime, name) for name in runtime.endpoints} == before

    runtime.kill("collector")
    assert states(runtime)["collector"] == "stopped"
    assert not runtime.kill("collector"), "it was dead already"
    with pytest.raises(StackError, match="make start PART=collector"):
        runtime.pause("collector")
    another = NativeRuntime(settings, Console(quiet=True), lambda *_: Programs(programs))
    another.start("collector")
    assert set(states(runtime).values()) == {"up"}
    assert pid_of(runtime, "collector") != before["collector"]

    assert not another.start("collector"), "it was up already"
    assert not runtime.resume("collector"), "it was not frozen"
    assert runtime.pause("collector")
    assert not runtime.pause("collector"), "it was frozen already"
    assert states(runtime)["collector"] == "paused"
    with pytest.raises(StackError, match="make resume PART=collector"):
        runtime.start("collector")
    assert runtime.resume("collector")
    until("the collector to answer again", lambda: states(runtime)["collector"] == "up")

    assert any("listening on" in line for line in runtime.logs("collector", lines=5, follow=False))
    runtime.pause("jaeger")
    runtime.down()
    assert set(states(runtime).values()) == {"stopped"}
    assert (settings.stack_run_dir / "data" / "shop").exists()
    assert not any(psutil.pid_exists(pid) for pid in before.values())


def test_parts_speak_to_one_another_past_any_proxy(
    runtime: NativeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise gRPC would use the shell's proxy for local addresses too; other no_proxy entries stay."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "internal.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    runtime.up()
    environment = psutil.Process(pid_of(runtime, "storefront")).environ()
    assert environment["no_proxy"] == environment["NO_PROXY"] == "internal.example,127.0.0.1,localhost"
    (settings_file,) = runtime._folder.glob("programs.json")
    settings_file.write_text("{")
    with pytest.raises(StackError, match="`make up` first"):
        runtime.restart("collector", {})


def test_frozen_supervisord_is_ended_all_the_same(
    runtime: NativeRuntime, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts the connection and never answers."""
    monkeypatch.setattr(rpc, "_ANSWER_SECONDS", 1.0)
    runtime.up()
    supervisord, part = supervisord_of(runtime), pid_of(runtime, "storefront")
    supervisord.suspend()
    assert not runtime.is_up()
    runtime.down()
    until("all to be gone", lambda: not (psutil.pid_exists(supervisord.pid) or psutil.pid_exists(part)))


def test_clean_removes_what_down_leaves_and_says_so(runtime: NativeRuntime, settings: StackSettings) -> None:
    """The data is gone, and a second `clean` reports nothing."""
    runtime.up()
    assert f"folder {settings.stack_run_dir}" in runtime.clean()
    assert not settings.stack_run_dir.exists()
    assert runtime.clean() == []


def test_killed_part_stays_dead_until_the_next_up(runtime: NativeRuntime) -> None:
    """Nothing restarts what was killed on purpose; `up` does."""
    runtime.up()
    runtime.kill("inventory")
    assert states(runtime)["inventory"] == "stopped"
    runtime.up()
    assert states(runtime)["inventory"] == "up"


def test_killed_supervisord_leaves_nothing_in_the_way(runtime: NativeRuntime, until: Any) -> None:
    """Its orphans are recognised, stopped and started again; a stale socket is no obstacle."""
    runtime.up()
    orphan = pid_of(runtime, "storefront")
    supervisord = supervisord_of(runtime)
    os.kill(supervisord.pid, signal.SIGKILL)
    until("supervisord to be gone", lambda: not psutil.pid_exists(supervisord.pid))
    assert psutil.pid_exists(orphan)
    runtime.up()
    assert set(states(runtime).values()) == {"up"}
    assert not psutil.pid_exists(orphan)


def test_taken_port_is_named_with_its_variable_and_nothing_is_started(
    runtime: NativeRuntime, settings: StackSettings
) -> None:
    """One message lists every taken port, and no process is started."""
    with socket.create_server(("127.0.0.1", settings.jaeger_port)), pytest.raises(StackError) as caught:
        runtime.up(lambda: pytest.fail("nothing is to be changed"))
    message = str(caught.value)
    assert f"port {settings.jaeger_port} is in use" in message
    assert "JAEGER_PORT" in message
    assert str(os.getpid()) in message
    assert set(states(runtime).values()) == {"stopped"}
    assert not settings.stack_run_dir.exists()


def test_folder_that_is_no_run_is_neither_used_nor_removed(
    runtime: NativeRuntime, settings: StackSettings
) -> None:
    """A STACK_RUN_DIR that points to something precious does no harm."""
    settings.stack_run_dir.mkdir()
    precious = settings.stack_run_dir / "precious.txt"
    precious.touch()
    for command in (runtime.up, runtime.clean):
        with pytest.raises(StackError, match="not a run of the stack"):
            command()
    assert precious.exists()
    precious.unlink()


def test_part_that_ends_at_once_is_reported_with_its_last_lines(
    runtime: NativeRuntime, programs: dict[str, Path]
) -> None:
    """The message has the failing part's own output."""
    programs["jaeger"].write_text("#!/bin/sh\necho no such storage >&2\nexit 3\n")
    with pytest.raises(StackError, match="jaeger") as caught:
        runtime.up()
    assert "no such storage" in str(caught.value)


def test_changed_settings_restart_the_parts_that_read_them(
    runtime: NativeRuntime,
    settings: StackSettings,
    programs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable of the services takes effect with the next `up`; other parts go on."""
    runtime.up()
    before = pid_of(runtime, "storefront")
    others = {name: pid_of(runtime, name) for name in ("jaeger", "collector", "prometheus")}
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4096")
    monkeypatch.setenv("SERVICE_VERSION", '100%25 "new"')  # as it is, past supervisord's own expansions
    NativeRuntime(settings, Console(quiet=True), lambda *_: Programs(programs)).up()
    assert pid_of(runtime, "storefront") != before
    health = httpx.get(
        f"http://127.0.0.1:{settings.storefront_port}/health/telemetry", trust_env=False
    ).json()
    assert health["queue"]["capacity"] == 4096
    assert health["service"]["version"] == '100%25 "new"'
    assert {name: pid_of(runtime, name) for name in others} == others

    with socket.create_server(("127.0.0.1", 0)) as taken:
        moved = settings.model_copy(update={"jaeger_port": taken.getsockname()[1]})
        with pytest.raises(StackError, match="JAEGER_PORT"):
            NativeRuntime(moved, Console(quiet=True), lambda *_: Programs(programs)).up()
    assert set(states(runtime).values()) == {"up"}

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    before = pid_of(runtime, "storefront")
    with pytest.raises(StackError, match="OTEL_BSP_MAX_QUEUE_SIZE='many'"):
        NativeRuntime(settings, Console(quiet=True), lambda *_: Programs(programs)).up()
    assert pid_of(runtime, "storefront") == before


def test_one_part_restarts_with_variables_of_its_own(
    runtime: NativeRuntime, settings: StackSettings, programs: dict[str, Path]
) -> None:
    """The others go on, another restart keeps the changes of the first, and `up` reverts them all."""

    def environment(name: str) -> dict[str, str]:
        return psutil.Process(pid_of(runtime, name)).environ()

    def arguments() -> list[str]:
        return psutil.Process(pid_of(runtime, "collector")).cmdline()

    runtime.up()
    before = {name: pid_of(runtime, name) for name in runtime.endpoints}
    runtime.restart("storefront", {"OTEL_BSP_MAX_QUEUE_SIZE": "4096", "SHOP_X": 'a "%(here)s" b'})
    runtime.restart("collector", {"TAIL_SAMPLING_PERCENTAGE": "5", "COLLECTOR_QUEUE_SPANS": "100"})
    assert environment("storefront")["OTEL_BSP_MAX_QUEUE_SIZE"] == "4096"
    assert environment("storefront")["SHOP_X"] == 'a "%(here)s" b'
    assert environment("storefront")["SERVICE_NAME"] == "storefront"
    assert environment("collector")["COLLECTOR_QUEUE_SPANS"] == "100"
    assert environment("collector")["TAIL_SAMPLING_PERCENTAGE"] == "5"
    assert any("tail_sampling.yaml" in word for word in arguments())
    after = {name: pid_of(runtime, name) for name in runtime.endpoints}
    assert {name for name in before if before[name] != after[name]} == {"storefront", "collector"}

    runtime.kill("collector")
    runtime.start("collector")
    assert environment("collector")["COLLECTOR_QUEUE_SPANS"] == "100"
    runtime.restart("collector", {})
    assert "COLLECTOR_QUEUE_SPANS" not in environment("collector")
    before_same = pid_of(runtime, "collector")
    runtime.restart("collector", {})
    assert pid_of(runtime, "collector") != before_same, "what changes nothing is a restart too"
    assert not any("tail_sampling.yaml" in word for word in arguments())
    NativeRuntime(settings, Console(quiet=True), lambda *_: Programs(programs)).up()
    assert "OTEL_BSP_MAX_QUEUE_SIZE" not in environment("storefront")


def test_slow_link_runs_only_while_it_is_asked_for(runtime: NativeRuntime) -> None:
    """`up` does not start it, and its absence is no error."""
    with pytest.raises(StackError, match="the stack is not up"):
        runtime.restart("collector", {})
    runtime.up()
    assert "toxiproxy" not in states(runtime)
    assert not runtime.kill("toxiproxy")


def test_restarted_part_that_ends_at_once_is_reported_with_its_own_lines(runtime: NativeRuntime) -> None:
    """Lines of the previous run in the same log are left out."""
    runtime.up()
    (before,) = runtime.logs("collector", lines=1, follow=False)
    assert "listening on" in before
    with pytest.raises(StackError, match="ended as soon as it was started") as caught:
        runtime.restart("collector", {"COLLECTOR_HEALTH_ENDPOINT": "nowhere"})
    assert "listening on ['nowhere']" in str(caught.value)
    assert before not in str(caught.value)


def test_number_of_workers_can_change(
    runtime: NativeRuntime, settings: StackSettings, programs: dict[str, Path]
) -> None:
    """Workers hold their parent's port too; that is no conflict."""

    def children() -> list[int]:
        return [child.pid for child in psutil.Process(pid_of(runtime, "storefront")).children()]

    several = settings.model_copy(update={"web_concurrency": 2})
    NativeRuntime(several, Console(quiet=True), lambda *_: Programs(programs)).up()
    before = children()
    assert len(before) >= 2
    runtime.pause("storefront")
    runtime.up()
    assert children() == []
    log = "\n".join(runtime.logs("storefront", lines=1_000, follow=False))
    ended = [pid for pid in before if f"Finished server process [{pid}]" in log]
    assert len(ended) == 2, "frozen workers, too, saw the request to stop"


def test_edited_file_restarts_the_part_that_reads_it(
    runtime: NativeRuntime,
    settings: StackSettings,
    programs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The reason is printed, and every other part goes on."""
    runtime.up()
    before = {name: pid_of(runtime, name) for name in runtime.endpoints}

    def edited(*paths: str) -> dict[str, str]:
        return {**digests(*paths), **({COLLECTOR_FILE: "edited"} if COLLECTOR_FILE in paths else {})}

    monkeypatch.setattr(commands, "digests", edited)
    NativeRuntime(settings, Console(width=200), lambda *_: Programs(programs)).up()
    after = {name: pid_of(runtime, name) for name in runtime.endpoints}
    assert [name for name in before if before[name] != after[name]] == ["collector"]
    assert f"restarting the collector: {COLLECTOR_FILE} was edited" in capsys.readouterr().out


@pytest.mark.parametrize("call", ["kill", "pause", "resume", "start"])
def test_unknown_part_is_refused_with_the_known_ones(call: str, runtime: NativeRuntime) -> None:
    """A typing error does no harm."""
    with pytest.raises(
        StackError, match="no part 'colector'; PART is one of storefront, inventory, collector"
    ):
        getattr(runtime, call)("colector")


def test_restart_of_a_part_looks_for_no_program(runtime: NativeRuntime, settings: StackSettings) -> None:
    """It reuses the run's programs: a lab must not wait for a network or get another program."""

    def search(*_: object) -> Programs:
        pytest.fail("programs were looked for")

    runtime.up()
    before = pid_of(runtime, "collector")
    NativeRuntime(settings, Console(quiet=True), search).restart("collector", {"ANY": "1"})
    assert pid_of(runtime, "collector") != before
    assert set(states(runtime).values()) == {"up"}


def test_grafana_is_a_part_where_there_is_one(
    settings: StackSettings, programs: dict[str, Path], until: Callable[..., None]
) -> None:
    """Every command treats it like the others; missing at the next `up`, it is stopped and reported."""
    complete = Programs(programs, frozenset({"jaeger", "prometheus"}))
    lacking = MissingPart("grafana", "no network")
    without = Programs({name: programs[name] for name in programs if name != "grafana"}, missing=(lacking,))

    def runtime_with(found: Programs) -> NativeRuntime:
        return NativeRuntime(settings, Console(quiet=True), lambda *_: found)

    runtime = runtime_with(complete)
    try:
        runtime.up()
        again = runtime_with(without)  # another command, before it has looked for programs
        assert states(again)["grafana"] == "up"
        assert again.missing == ()
        assert again.endpoints["jaeger"].address.endswith(str(settings.jaeger_port))
        assert again.kill("grafana")
        assert states(again)["grafana"] == "stopped"
        runtime.up()
        grafana = pid_of(runtime, "grafana")
        again.up()
        until("Grafana's end", lambda: not psutil.pid_exists(grafana))
        assert again.missing == (lacking,)
        assert "grafana" not in states(again)
        with pytest.raises(StackError, match="no part 'grafana'"):
            again.start("grafana")
        assert again.endpoints["jaeger"].address.endswith("/api/v3/services")
    finally:
        runtime.clean()
