"""Stand-in images, so that compose.yaml can be tested unchanged where no image can be pulled.

Each has the pinned name and holds the same program, built from its Go module, at the same path and for the
same user, with a shell only if the real image has one. All carry a label, and `make up` refuses such images.
"""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stack.compose.engine import Engine
from stack.compose.runtime import STAND_IN_LABEL
from stack.errors import StackError
from stack.settings import StackSettings

_DEBIAN = "bookworm"
_TRUST = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
"""Files that a build inside a container needs to trust the same registries as this machine."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """The properties of the real image that compose.yaml depends on."""

    image: str
    programs: Mapping[str, str]
    """Path in the image by the program's name in the cache; the first one is the entry point."""
    instructions: Sequence[str] = ()
    has_shell: bool = False


def stand_ins_of(settings: StackSettings) -> tuple[StandIn, ...]:
    """Returns the Go programs' images, each modelled on its publisher's Dockerfile at the pinned version."""
    return (
        StandIn(
            f"otel/opentelemetry-collector-contrib:{settings.collector_version}",
            {"otelcol-contrib": "/otelcol-contrib"},
            ["USER 10001:10001"],
        ),
        StandIn(
            f"jaegertracing/jaeger:{settings.jaeger_version}",
            {"jaeger": "/cmd/jaeger/jaeger-linux"},
            ["ENV JAEGER_LISTEN_HOST=0.0.0.0", "VOLUME /tmp", "USER 10001"],
            has_shell=True,
        ),
        StandIn(
            f"prom/prometheus:v{settings.prometheus_version}",
            {"prometheus": "/bin/prometheus", "promtool": "/bin/promtool"},
            [
                "WORKDIR /prometheus",
                "RUN chown -R 65534:65534 /prometheus",
                "USER 65534",
                "VOLUME /prometheus",
            ],
            has_shell=True,
        ),
        StandIn(
            f"ghcr.io/shopify/toxiproxy:{settings.toxiproxy_version}", {"toxiproxy-server": "/toxiproxy"}
        ),
    )


def build_missing(
    settings: StackSettings, engine: Engine, programs: Mapping[str, Path], console: Console
) -> list[str]:
    """Builds a stand-in for each image that is neither here nor can be pulled; returns their names.

    Raises:
        StackError: one cannot be built.
    """
    built = []
    for stand_in in stand_ins_of(settings):
        if _is_needed(stand_in.image, engine, console):
            _build(stand_in, engine, programs)
            built.append(stand_in.image)
    if _is_needed(settings.python_image, engine, console):
        _import_python(settings.python_image, engine)
        built.append(settings.python_image)
    return built


def remove(engine: Engine) -> list[str]:
    """Removes every image that carries the label, including those built on one; returns their names.

    An image that another checkout's containers use is kept.
    """
    names = engine.docker(
        "image", "ls", "--filter", f"label={STAND_IN_LABEL}", "--format", "{{.Repository}}:{{.Tag}}"
    ).split()
    named = []
    for name in names:
        if "<none>" not in name:
            with suppress(StackError):  # it is in use
                engine.docker("image", "rm", name)
                named.append(name)
    # Images that they were built from have no names, and are gone unless another image is built on them.
    engine.docker("image", "prune", "--force", "--filter", f"label={STAND_IN_LABEL}")
    return named


def _is_needed(image: str, engine: Engine, console: Console) -> bool:
    labels = engine.labels_of(image)
    if labels is not None:
        # A stand-in left by an interrupted run is rebuilt: the program may have changed since.
        return STAND_IN_LABEL in labels
    reason = engine.why_not_pullable(image)
    if reason is None:
        engine.pull(image)
        return False
    console.print(f"a stand-in for {image}: {reason}", highlight=False, soft_wrap=True)
    return True


def _build(stand_in: StandIn, engine: Engine, programs: Mapping[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        lines = ["FROM scratch", f"LABEL {STAND_IN_LABEL}=true"]
        if stand_in.has_shell:
            shutil.copy(_busybox(), context / "busybox")
            lines += ["COPY busybox /bin/busybox", 'RUN ["/bin/busybox", "--install", "-s", "/bin"]']
        for name, path in stand_in.programs.items():
            shutil.copy(programs[name], context / name)
            lines.append(f"COPY {name} {path}")
        lines += [*stand_in.instructions, f'ENTRYPOINT ["{next(iter(stand_in.programs.values()))}"]']
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        engine.docker("build", "--quiet", "--tag", stand_in.image, folder)


def _busybox() -> str:
    found = shutil.which("busybox")
    if found is None:
        raise StackError("the stand-ins need a static busybox (Debian's package busybox-static)")
    return found


def _import_python(image: str, engine: Engine) -> None:
    if shutil.which("debootstrap") is None:
        raise StackError(f"a stand-in for {image} needs Debian's debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        done = subprocess.run(
            (
                *("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates"),
                *(_DEBIAN, str(root)),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"debootstrap failed:\n{done.stdout[-2000:]}")
        for file in _TRUST:
            if file.exists():
                shutil.copy(file, root / file.relative_to("/"))
        archive = Path(folder, "root.tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".")
        # uv reads no pip.conf.
        trust = f"ENV SSL_CERT_FILE={_TRUST[0]}"
        engine.docker(
            "import", "--change", f"LABEL {STAND_IN_LABEL}=true", "--change", trust, str(archive), image
        )
