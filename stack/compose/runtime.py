"""The compose runtime: starts `compose.yaml`, gated on health checks, and probes the parts from outside."""

import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from stack.compose.containers import is_running, status_of, why_replaced
from stack.compose.engine import Engine
from stack.errors import StackError
from stack.health import get, health_of, wait_for
from stack.lock import locked
from stack.parts import MissingPart, Part, SlowLink, grafana_part, parts_of, toxiproxy_part
from stack.port_check import check_ports
from stack.runtime import PartState, PartStatus
from stack.service_variables import check_service_variables
from stack.settings import ROOT, StackSettings

STAND_IN_LABEL = "telemetry.stand-in"
"""Label of the stand-in images that tests build; `up` refuses them."""
START_SECONDS = 120
"""How long all containers together may take to become healthy."""
_OUTSIDE_SECONDS = 30.0
"""How long a part may then take to answer on its published port."""
_LINES_SHOWN = "15"
_NATIVE_WAY = "\nWithout containers: `make up RUNTIME=native`."


class ComposeRuntime:
    """Runs the stack in containers; see `stack.runtime.Runtime`.

    Args:
        settings: ports, versions and the project's name.
        console: where progress is reported.
        without: services of the compose file to leave out.
        accepts_stand_ins: whether to accept stand-in images; for tests.
    """

    kind = "compose"
    missing: tuple[MissingPart, ...] = ()

    def __init__(
        self,
        settings: StackSettings,
        console: Console,
        *,
        without: Collection[str] = (),
        accepts_stand_ins: bool = False,
    ) -> None:
        self._settings = settings
        self._console = console
        self._accepts_stand_ins = accepts_stand_ins
        self._engine = Engine(settings)
        self._without = without
        parts = (*parts_of(settings, with_pages=("jaeger", "prometheus")), grafana_part(settings))
        self._parts = {part.name: part for part in parts if part.name not in without}
        proxy = toxiproxy_part(settings)
        self._named = {**self._parts, proxy.name: proxy}

    @property
    def endpoints(self) -> Mapping[str, Part]:
        """The parts by name, with their addresses."""
        return self._parts

    def is_up(self) -> bool:
        """Returns whether containers of the project exist and belong to this checkout."""
        if self._engine.obstacle() is not None:
            return False
        containers = self._engine.containers()
        return bool(containers) and _folder_of_others(containers) is None

    def obstacle(self) -> str | None:
        """Returns why the stack cannot be started here; asks a registry about the first missing image."""
        obstacle = self._engine.obstacle()
        if obstacle is not None:
            return obstacle
        for image in self._missing_images():
            reason = self._engine.why_not_pullable(image)
            return None if reason is None else f"{image} is not here and cannot be pulled: {reason}"
        return self._why_stand_ins()

    def up(self, before_change: Callable[[], None] = lambda: None) -> None:
        """Pulls missing images, builds, starts what does not run, and waits until every part is healthy.

        Args:
            before_change: called once all checks have passed, before the first change.

        Raises:
            StackError: an image cannot be pulled or built, a port is taken, or a part is not healthy in time.
        """
        obstacle = self._engine.obstacle() or self._why_stand_ins()
        if obstacle is not None:
            raise StackError(f"{obstacle}.{_NATIVE_WAY}")
        _check_files_are_readable()
        check_service_variables(self._settings)
        with locked(self._settings, self._console):
            containers = self._engine.containers()
            self._check_they_are_ours(containers)
            stopped = [part for part in self._parts.values() if not is_running(containers.get(part.name, {}))]
            check_ports(stopped, ours=())
            try:
                self._start(containers, before_change)
            except StackError as error:
                raise StackError(f"{error}{_NATIVE_WAY}") from None

    def as_it_is(self) -> Callable[[], None]:
        """Captures the current state; the returned function restores it after an interrupted `up`."""
        before = self._engine.containers() if self._engine.obstacle() is None else {}

        def undo() -> None:
            with locked(self._settings, self._console):
                if before:
                    self._bring_back(before)
                elif self._engine.obstacle() is None:
                    self._engine.compose("--profile", "*", "down", "--remove-orphans")

        return undo

    def down(self) -> None:
        """Stops and removes the containers; keeps the volumes with their data."""
        with locked(self._settings, self._console), self._console.status("stopping"):
            containers = self._engine.containers()
            self._check_they_are_ours(containers)
            self._unpause(containers)
            self._engine.compose("--profile", "*", "down", "--remove-orphans")

    def clean(self) -> list[str]:
        """Removes containers, volumes and the images that were built here; returns the removed objects."""
        if self._engine.obstacle() is not None:
            return []
        others = _folder_of_others(self._engine.containers())
        if others is not None:
            name = self._settings.compose_project_name
            self._console.print(f"the containers of {name} were started from {others}: they stay")
            return []
        self.down()
        with locked(self._settings, self._console):
            volumes = self._engine.volumes()
            if volumes:
                self._engine.docker("volume", "rm", *volumes)
            images = self._engine.built_images()
            if images:
                self._engine.docker("image", "rm", *images)
        return [*(f"volume {name}" for name in volumes), *(f"image {name}" for name in images)]

    def status(self) -> list[PartStatus]:
        """Returns the current status of every part."""
        containers = self._engine.containers()
        running = [each["Id"] for each in containers.values() if is_running(each)]
        memory = self._engine.memory_bytes(running)
        return [status_of(part, containers.get(part.name), memory) for part in self._parts.values()]

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """Yields the part's last lines, and each new one if following."""
        self._container(name)
        arguments = ["logs", "--no-log-prefix", "--no-color", "--tail", str(lines)]
        yield from self._engine.follow(*arguments, *(["--follow"] if follow else []), name)

    def kill(self, name: str) -> bool:
        """Ends the part at once (SIGKILL); it stays dead until started. False: it was dead already."""
        container = self._container(name)
        if not is_running(container):
            return False
        if container["State"]["Paused"]:
            self._engine.compose("unpause", name)  # the engine cannot kill a frozen container
        self._engine.compose("kill", "--signal", "SIGKILL", name)
        return True

    def pause(self, name: str) -> bool:
        """Freezes the part: it accepts connections and never answers."""
        return self._freeze(name, freezes=True)

    def resume(self, name: str) -> bool:
        """Resumes the frozen part."""
        return self._freeze(name, freezes=False)

    def start(self, name: str) -> bool:
        """Starts the part and waits until it is healthy."""
        part = self._check_name(name)
        with locked(self._settings, self._console):
            containers = self._engine.containers()
            container = containers.get(name, {})
            if not containers or (not container and name in self._parts):
                raise StackError("the stack is not up; `make up` starts it")
            if container and container["State"]["Paused"]:
                raise StackError(f"the {name} runs but is frozen; `make resume PART={name}` lets it go on")
            if is_running(container):
                if health_of(part)[0] is PartState.UP:
                    return False
            else:
                check_ports([part], ours=())
            if container:
                self._engine.compose("start", name)
            else:
                # It belongs to a profile: it has no container until it is started by name.
                self._engine.compose("up", "--detach", "--no-deps", name)
            self._wait_until_well(part)
        return True

    def restart(self, name: str, variables: Mapping[str, str]) -> None:
        """Stops the part gracefully and starts it with these variables over its own."""
        part = self._check_name(name)
        with locked(self._settings, self._console):
            if name not in self._engine.containers():
                raise StackError("the stack is not up; `make up` starts it")
            self._engine.recreate(name, variables)
            self._wait_until_well(part)

    @property
    def slow_link(self) -> SlowLink:
        """The addresses for putting toxiproxy between services and Collector."""
        return SlowLink(
            api_url=f"http://127.0.0.1:{self._settings.toxiproxy_port}",
            listen="0.0.0.0:4317",  # in the containers' own network
            upstream="collector:4317",
            endpoint="http://toxiproxy:4317",
        )

    def _check_they_are_ours(self, containers: Mapping[str, dict[str, Any]]) -> None:
        """Rejects containers of another checkout: they have its configuration mounted."""
        others = _folder_of_others(containers)
        if others is not None:
            raise StackError(
                f"the containers of {self._settings.compose_project_name} were started from {others}: "
                "`make down` there, or set COMPOSE_PROJECT_NAME to another name"
            )

    def _start(self, containers: Mapping[str, dict[str, Any]], before_change: Callable[[], None]) -> None:
        for image in self._missing_images():
            self._console.print(f"pulling {image}", highlight=False)
            self._engine.pull(image)
        with self._console.status("building the services' image"):
            self._engine.build()
        before_change()
        self._unpause(containers)
        services = [name for name in self._engine.services if name not in self._without]
        with self._console.status("waiting until every part is healthy"):
            try:
                self._engine.compose(
                    *("up", "--detach", "--no-build", "--remove-orphans"),
                    *("--wait", "--wait-timeout", str(START_SECONDS), *services),
                )
            except StackError as error:
                raise StackError(f"{error}{self._words_of_the_sick()}") from None
            for part in self._parts.values():
                self._wait_until_well(part)

        after = self._engine.containers()
        for name in containers.keys() & after.keys() & self._parts.keys():
            reason = why_replaced(containers[name], after[name])
            if reason:
                self._console.print(f"restarted the {name}: {reason}", highlight=False, soft_wrap=True)

    def _bring_back(self, before: Mapping[str, dict[str, Any]]) -> None:
        """Removes or stops what did not run before, and restarts what did, with its present configuration."""
        now = self._engine.containers()
        added = sorted(now.keys() - before.keys())
        if added:
            self._engine.compose("rm", "--stop", "--force", *added)
        stopped = sorted(
            name for name in now.keys() & before.keys() if is_running(now[name]) > is_running(before[name])
        )
        if stopped:
            self._engine.compose("stop", *stopped)
        ran = sorted(name for name in before if is_running(before[name]) > is_running(now.get(name, {})))
        if ran:
            self._engine.compose("up", "--detach", "--no-build", "--no-deps", *ran)

    def _wait_until_well(self, part: Part) -> None:
        try:
            wait_for(lambda: get(part.health_url), seconds=_OUTSIDE_SECONDS)
        except StackError as error:
            raise StackError(
                f"the {part.name} does not become healthy: {error}{self._last_lines(part.name)}"
            ) from None

    def _words_of_the_sick(self) -> str:
        sick = [
            name
            for name, container in self._engine.containers().items()
            if container["State"].get("ExitCode")
            or container["State"].get("Health", {}).get("Status") in {"starting", "unhealthy"}
        ]
        return "".join(f"\nThe {name}:{self._last_lines(name)}" for name in sick)

    def _last_lines(self, name: str) -> str:
        lines = self._engine.follow("logs", "--no-log-prefix", "--no-color", "--tail", _LINES_SHOWN, name)
        return "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in lines)

    def _unpause(self, containers: Mapping[str, dict[str, Any]]) -> None:
        frozen = [name for name, container in containers.items() if container["State"]["Paused"]]
        if frozen:
            self._engine.compose("unpause", *frozen)

    def _missing_images(self) -> list[str]:
        images = [image.name for image in self._engine.images if not image.is_built]
        if "grafana" in self._without:
            images = [name for name in images if not name.startswith("grafana/")]
        return [name for name in images if self._engine.labels_of(name) is None]

    def _why_stand_ins(self) -> str | None:
        if self._accepts_stand_ins:
            return None
        for image in self._engine.images:
            if STAND_IN_LABEL in (self._engine.labels_of(image.name) or {}):
                return f"{image.name} is a stand-in for tests; `docker image rm {image.name}` removes it"
        return None

    def _check_name(self, name: str) -> Part:
        if name not in self._named:
            raise StackError(f"there is no part {name!r}; PART is one of {', '.join(self._parts)}")
        return self._named[name]

    def _container(self, name: str) -> dict[str, Any]:
        """Returns the part's container.

        Raises:
            StackError: there is none.
        """
        self._check_name(name)
        containers = self._engine.containers()
        if not containers:
            raise StackError("the stack is not up; `make up` starts it")
        if name not in containers:
            raise StackError(f"the {name} was never started; `make start PART={name}` or `make up` starts it")
        return containers[name]

    def _freeze(self, name: str, *, freezes: bool) -> bool:
        container = self._container(name)
        if not is_running(container):
            raise StackError(f"the {name} does not run; `make start PART={name}` or `make up` starts it")
        if container["State"]["Paused"] == freezes:
            return False
        self._engine.compose("pause" if freezes else "unpause", name)
        return True


def _folder_of_others(containers: Mapping[str, dict[str, Any]]) -> str | None:
    """Returns the other checkout that these containers were started from, or None if it is this one."""
    folders = (
        each["Config"]["Labels"].get("com.docker.compose.project.working_dir") for each in containers.values()
    )
    return next((folder for folder in folders if folder and Path(folder) != ROOT), None)


def _check_files_are_readable() -> None:
    """Checks that the containers' users can read the mounted files, which a strict umask would prevent."""
    for folder in ("collector", "jaeger", "prometheus", "grafana"):
        for path in (ROOT / folder, *(ROOT / folder).rglob("*")):
            needed = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
            if path.stat().st_mode & needed != needed:
                raise StackError(
                    f"{path.relative_to(ROOT)} cannot be read by the containers' users: "
                    f"run `chmod -R o+rX collector jaeger prometheus grafana`"
                )
