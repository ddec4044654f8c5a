"""The docker command line as the compose runtime uses it: for one project of one compose file."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pydantic import ByteSize, TypeAdapter

from stack import child
from stack.compose.containers import file_variables
from stack.errors import StackError
from stack.service_variables import recommended_variables
from stack.settings import ROOT, StackSettings

COMPOSE_FILE = ROOT / "compose.yaml"
_ANSWER_SECONDS = 20.0
"""Timeout of short requests to the engine or a registry."""
_LINES_SHOWN = 15
_byte_size = TypeAdapter(ByteSize)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a part is started from, or built on."""

    name: str
    is_built: bool
    """Whether it is built locally instead of pulled."""


class Engine:
    """Runs docker commands for the project that the settings name. Thread-safe: it has no mutable state."""

    def __init__(self, settings: StackSettings) -> None:
        self._project = settings.compose_project_name
        self._environment = {
            **recommended_variables(settings),
            **os.environ,
            **settings.variables(),
            **file_variables(),
        }

    def obstacle(self) -> str | None:
        """Returns why containers cannot be used here, or None if an engine with compose answers."""
        if shutil.which("docker") is None:
            return "docker is not installed"
        for command, what in (
            (("version", "--format", "{{.Server.Version}}"), "no Docker engine answers"),
            (("compose", "version"), "docker has no compose plugin"),
        ):
            try:
                done = self._run(command, timeout_seconds=_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                return f"{what} within {_ANSWER_SECONDS:g} s"
            if done.returncode != 0:
                return what
        return None

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """The distinct images of the compose file, including base images but not those of profiles.

        Raises:
            StackError: the file, or a variable in it, is malformed.
        """
        services = self._configuration["services"].values()
        built = {service["image"] for service in services if "build" in service}
        bases = {service["build"]["args"]["PYTHON_IMAGE"] for service in services if "build" in service}
        pulled = {service["image"] for service in services} - built
        return tuple(Image(name, is_built=name in built) for name in sorted(built | bases | pulled))

    def build(self) -> None:
        """Builds each image once, for the first of the services that share it; profiles are left out.

        Compose labels an image with the service that it is built for. If it were built for several services,
        the last one to finish would win, the image would differ each time, and `up` would recreate them all.

        Raises:
            StackError: a build failed.
        """
        services = self._configuration["services"]
        first = {
            services[name]["image"]: name
            for name in sorted(services, reverse=True)
            if "build" in services[name]
        }
        self.compose("build", "--quiet", *sorted(first.values()))

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the compose file's services, except those of profiles."""
        return tuple(self._configuration["services"])

    def labels_of(self, image: str) -> Mapping[str, str] | None:
        """Returns the labels of an image, or None if the engine does not have it."""
        done = self._run(("image", "inspect", "--format", "{{json .Config.Labels}}", image))
        return None if done.returncode != 0 else json.loads(done.stdout) or {}

    def why_not_pullable(self, image: str) -> str | None:
        """Returns why an image cannot be pulled, or None if it can; asks the registry without downloading."""
        try:
            done = self._run(("manifest", "inspect", image), timeout_seconds=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no registry answered within {_ANSWER_SECONDS:g} s"
        return None if done.returncode == 0 else _tail(done.stderr, lines=1)

    def pull(self, image: str) -> None:
        """Pulls an image; docker's own progress goes to the terminal.

        Raises:
            StackError: the image could not be pulled.
        """
        if child.run(("docker", "pull", image), environment=self._environment, captures=False).returncode:
            raise StackError(f"{image} could not be pulled; see docker's output above")

    def docker(self, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
        """Runs `docker …` with these variables over the usual ones, and returns its output.

        Raises:
            StackError: the command failed; the message has the last lines of its output.
        """
        done = self._run(arguments, environment=environment)
        if done.returncode != 0:
            raise StackError(f"`docker {' '.join(arguments)}` failed:\n{_tail(done.stderr or done.stdout)}")
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose …` on the project; see `docker`."""
        return self.docker(*self._compose_words, *arguments)

    def recreate(self, service: str, variables: Mapping[str, str]) -> None:
        """Recreates a service's container with these variables over those of the compose file.

        Raises:
            StackError: the container cannot be started.
        """
        override = {"services": {service: {"environment": dict(variables)}}}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(override, file)
            file.flush()
            self.docker(
                *(*self._compose_words, "--file", file.name),
                *("up", "--detach", "--no-deps", "--no-build", "--force-recreate", service),
                environment=variables,
            )

    def follow(self, *arguments: str) -> Iterator[str]:
        """Runs `docker compose …` and yields each line as it is printed; ends the command when closed."""
        with subprocess.Popen(
            ("docker", *self._compose_words, *arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stdout or ():
                    yield line.rstrip("\n")
            finally:
                if process.poll() is None:
                    process.terminate()

    def containers(self) -> Mapping[str, dict[str, Any]]:
        """Inspects the project's containers, by service; for a scaled service only the first one.

        Raises:
            StackError: the engine does not answer.
        """
        identifiers = self.docker("ps", "--all", "--quiet", "--filter", self._of_the_project).split()
        if not identifiers:
            return {}
        described: list[dict[str, Any]] = json.loads(self.docker("inspect", *identifiers))
        described.sort(key=lambda each: int(each["Config"]["Labels"]["com.docker.compose.container-number"]))
        found: dict[str, dict[str, Any]] = {}
        for each in described:
            found.setdefault(each["Config"]["Labels"]["com.docker.compose.service"], each)
        return found

    def memory_bytes(self, identifiers: Iterable[str]) -> Mapping[str, int]:
        """Returns the memory of running containers by identifier, as counted against their limits."""
        wanted = tuple(identifiers)
        if not wanted:
            return {}
        lines = self.docker(
            "stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *wanted
        )
        usage = (line.split(" ", 1) for line in lines.splitlines())
        return {
            identifier: int(_byte_size.validate_python(words.split("/")[0].strip()))
            for identifier, words in usage
        }

    def volumes(self) -> list[str]:
        """Returns the names of the project's existing volumes."""
        return self.docker("volume", "ls", "--quiet", "--filter", self._of_the_project).split()

    def built_images(self) -> list[str]:
        """Returns the names of the images that were built for the project, including those of profiles."""
        names = self.docker("image", "ls", "--filter", self._of_the_project, "--format", "{{.Repository}}")
        return sorted({name for name in names.split() if name != "<none>"})

    @cached_property
    def _configuration(self) -> dict[str, Any]:
        configuration: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        return configuration

    @property
    def _of_the_project(self) -> str:
        return f"label=com.docker.compose.project={self._project}"

    @property
    def _compose_words(self) -> tuple[str, ...]:
        return (
            "compose",
            "--project-name",
            self._project,
            "--file",
            str(COMPOSE_FILE),
            "--progress",
            "plain",
        )

    def _run(
        self,
        arguments: Iterable[str],
        *,
        timeout_seconds: float | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        return child.run(
            ("docker", *arguments),
            environment={**self._environment, **environment},
            timeout_seconds=timeout_seconds,
        )


def _tail(text: str, *, lines: int = _LINES_SHOWN) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
