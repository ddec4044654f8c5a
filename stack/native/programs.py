"""Where the stack's programs come from: PATH, the cache, the publisher's release archive, the Go build.

In this order, for each program; `PROGRAMS_FROM` leaves ways out. What a way cannot give is told in a line,
and the next one is taken. Grafana alone cannot be built: the stack goes on without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import Version
from rich.console import Console

from stack.errors import StackError
from stack.native.cache import cache_locked
from stack.native.go_build import Module, build
from stack.native.on_path import NotOnPathError, programs_on_path
from stack.native.releases import Archive, Downloads, Release, ReleaseError, archive_of
from stack.parts import MissingPart
from stack.settings import StackSettings

_MEBIBYTE = 2**20
_PACKAGED_GRAFANA = Path("/usr/share/grafana")
"""Where Debian's and Fedora's packages put what belongs to the program."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs that a run is started with."""

    paths: Mapping[str, Path]
    """By the name of the program."""
    with_pages: frozenset[str] = frozenset()
    """Those of Jaeger and Prometheus that have their web pages."""
    missing: tuple[MissingPart, ...] = ()
    """What cannot be had, and why."""

    @property
    def have_grafana(self) -> bool:
        """Whether there is a Grafana to run."""
        return "grafana" in self.paths

    @property
    def grafana_home(self) -> Path:
        """The folder with Grafana's pages and defaults: around its program, or the system's own."""
        program = self.paths["grafana"].resolve()
        homes = (program.parents[1], program.parents[1] / "share" / "grafana", _PACKAGED_GRAFANA)
        return next((home for home in homes if (home / "conf" / "defaults.ini").exists()), homes[0])


@dataclass(frozen=True, slots=True)
class _Product:
    """What one publisher releases, and each way to it."""

    release: Release
    version_arguments: tuple[str, ...]
    module: Module | None
    has_pages: bool = False
    """Whether it has web pages, which no Go module holds."""


@dataclass(slots=True)
class _Search:
    """What was found of one product so far, and why not elsewhere."""

    product: _Product
    paths: Mapping[str, Path] | None = None
    is_built: bool = False
    refusals: list[str] = field(default_factory=list)
    archive: Archive | None = None
    """To be downloaded."""
    size: int | None = None


def modules_of(settings: StackSettings) -> tuple[Module, ...]:
    """What can be built, with the versions of `.env`."""
    return tuple(each.module for each in _products(settings) if each.module is not None)


COMPOSE_PLUGIN = Module(
    "compose",
    "2.40.3",
    ("cli-plugins/docker-compose",),
    ("-o", "{out}/cli-plugins/docker-compose", "github.com/docker/compose/v2/cmd"),
    "github.com/docker/compose/v2 v2.40.3",
    116,
)


def ensure_programs(settings: StackSettings, console: Console) -> Programs:
    """Finds the programs, or gets what is not there, saying first what that takes and then how it goes.

    Raises:
        StackError: one of them can be had in no way; the message says how to go on.
    """
    products = _products(settings)
    for product in products:
        if product.module is not None:
            product.module.check()
    searches = [_at_hand(product, settings, console) for product in products]
    if any(search.paths is None for search in searches):
        downloads = Downloads(settings)
        with cache_locked(console):
            for search in searches:
                if search.paths is None:
                    _look_into_cache(search, settings)  # another command may have just filled it
            wanted = [search for search in searches if search.paths is None]
            if "release" in _ways(settings):
                for search in wanted:
                    _look_for_release(search, downloads)
            for search in wanted:
                _check(search, settings)
            _announce(wanted, settings, console)
            for search in wanted:
                _get(search, downloads, settings, console)
    return _programs(searches)


def ensure_compose_plugin(console: Console) -> Path:
    """A folder for `DOCKER_CONFIG` with docker's compose plugin in it; builds that if the cache lacks it.

    For tests on a machine that has an engine but no plugin; see `ensure_programs` for what it raises.
    """
    COMPOSE_PLUGIN.check()
    if COMPOSE_PLUGIN.built() is None:
        with cache_locked(console):
            if COMPOSE_PLUGIN.built() is None:
                build(COMPOSE_PLUGIN, console)
    return COMPOSE_PLUGIN.entry


def _ways(settings: StackSettings) -> frozenset[str]:
    return frozenset(settings.programs_from.split(","))


def _at_hand(product: _Product, settings: StackSettings, console: Console) -> _Search:
    search = _Search(product)
    release = product.release
    if "path" in _ways(settings):
        try:
            search.paths = programs_on_path(
                tuple(release.programs), product.version_arguments, release.version
            )
        except NotOnPathError as error:
            if error.why is not None:
                console.print(
                    f"{release.name} {release.version} is wanted, and {error.why}: not used",
                    highlight=False,
                    soft_wrap=True,
                )
        else:
            return search
    _look_into_cache(search, settings)
    return search


def _look_into_cache(search: _Search, settings: StackSettings) -> None:
    """A release before a build: it has the web pages."""
    ways, product = _ways(settings), search.product
    if "release" in ways:
        try:
            search.paths = archive_of(product.release).unpacked()
        except ReleaseError:
            search.paths = None
    if search.paths is None and product.module is not None and "build" in ways:
        search.paths = product.module.built()
        search.is_built = search.paths is not None


def _look_for_release(search: _Search, downloads: Downloads) -> None:
    try:
        archive = archive_of(search.product.release)
        search.size = downloads.size_of(archive)
        search.archive = archive
    except ReleaseError as error:
        search.refusals.append(str(error))


def _announce(searches: list[_Search], settings: StackSettings, console: Console) -> None:
    """What will be downloaded and built, how large it is, how long it takes, and why not the better way."""

    def tell(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    downloaded = [search for search in searches if search.archive is not None]
    built = [search for search in searches if search.archive is None and _is_buildable(search, settings)]
    # Of what cannot be built it is told at the end, as of all that is missing.
    for why in dict.fromkeys(refusal for search in built for refusal in search.refusals):
        tell(f"no download of {_named([each for each in built if why in each.refusals])}: {why}")
    if downloaded:
        mebibytes = sum(search.size or 0 for search in downloaded) / _MEBIBYTE
        tell(f"to download, once: {_named(downloaded)}; {mebibytes:.0f} MiB in all")
    if built:
        modules = [search.product.module for search in built if search.product.module]
        seconds = sum(module.seconds for module in modules)
        names = ", ".join(f"{module.name} {module.version}" for module in modules)
        tell(
            f"to build with Go, once: {names}; about {max(1, round(seconds / 60))} minutes on 2 cores, "
            "and 3 GB of disk for Go's own caches"
        )


def _named(searches: list[_Search]) -> str:
    return ", ".join(f"{each.product.release.name} {each.product.release.version}" for each in searches)


def _is_buildable(search: _Search, settings: StackSettings) -> bool:
    return search.product.module is not None and "build" in _ways(settings)


def _get(search: _Search, downloads: Downloads, settings: StackSettings, console: Console) -> None:
    """Downloads or builds one; leaves Grafana be where it cannot be had.

    Raises:
        StackError: it can be had in no way.
    """
    release, module = search.product.release, search.product.module
    if search.archive is not None:
        try:
            downloads.install(search.archive, console)
        except ReleaseError as error:
            search.refusals.append(str(error))
            console.print(f"{release.name} {release.version}: {error}", highlight=False, soft_wrap=True)
        else:
            search.paths = search.archive.unpacked()
            console.print(f"downloaded {release.name} {release.version}")
            return
    if module is not None and "build" in _ways(settings):
        build(module, console)
        search.paths, search.is_built = module.built(), True
    else:
        search.archive = None
        _check(search, settings)


def _check(search: _Search, settings: StackSettings) -> None:
    """Whether a way is left; Grafana needs none."""
    release = search.product.release
    if search.archive is None and search.product.module is not None and not _is_buildable(search, settings):
        raise StackError(
            f"{release.name} {release.version} cannot be had: {_why(search)}; PROGRAMS_FROM="
            f"{settings.programs_from} leaves out other ways (path, release, build)"
        )


def _why(search: _Search) -> str:
    return "; ".join(search.refusals) or "it is neither on PATH nor in the cache"


def _programs(searches: list[_Search]) -> Programs:
    paths: dict[str, Path] = {}
    with_pages, missing = set(), []
    for search in searches:
        name = search.product.release.name
        if search.paths is None:
            missing.append(MissingPart(name, f"it cannot be built from Go modules, and {_why(search)}"))
            continue
        paths.update(search.paths)
        if search.product.has_pages and search.is_built:
            why = "no Go module holds them, and it was built from one; its HTTP API works"
            missing.append(MissingPart(f"{name.capitalize()}'s web pages", why))
        elif search.product.has_pages:
            with_pages.add(name)
    return Programs(paths, frozenset(with_pages), tuple(missing))


def _products(settings: StackSettings) -> tuple[_Product, ...]:
    major, minor, patch = (*Version(settings.prometheus_version).release, 0, 0)[:3]
    prometheus_module = f"v0.{major}{minor:02}.{patch}"  # how Prometheus numbers its Go module
    github = "https://github.com/{repository}/releases/download/v{{version}}/".format
    grafana = "grafana-{version}"
    return (
        _Product(
            Release(
                "collector",
                settings.collector_version,
                github(repository="open-telemetry/opentelemetry-collector-releases")
                + "otelcol-contrib_{version}_{os}_{arch}.tar.gz",
                {"otelcol-contrib": "otelcol-contrib"},
            ),
            ("--version",),
            Module(
                "collector",
                settings.collector_version,
                ("otelcol-contrib",),
                ("-o", "{out}/otelcol-contrib", "."),
                f"go.opentelemetry.io/collector/receiver/otlpreceiver v{settings.collector_version}",
                155,
            ),
        ),
        _Product(
            Release(
                "jaeger",
                settings.jaeger_version,
                github(repository="jaegertracing/jaeger") + "jaeger-{version}-{os}-{arch}.tar.gz",
                {"jaeger": "jaeger-{version}-{os}-{arch}/jaeger"},
            ),
            ("version",),
            Module(
                "jaeger",
                settings.jaeger_native_version,
                ("jaeger",),
                ("-o", "{out}/", "tool"),
                f"github.com/jaegertracing/jaeger v{settings.jaeger_native_version}",
                264,
            ),
            has_pages=True,
        ),
        _Product(
            Release(
                "prometheus",
                settings.prometheus_version,
                github(repository="prometheus/prometheus") + "prometheus-{version}.{os}-{arch}.tar.gz",
                {
                    name: f"prometheus-{{version}}.{{os}}-{{arch}}/{name}"
                    for name in ("prometheus", "promtool")
                },
            ),
            ("--version",),
            Module(
                "prometheus",
                settings.prometheus_version,
                ("prometheus", "promtool"),
                # Without the service discoveries of every cloud; file_sd stays.
                ("-tags", "remove_all_sd", "-o", "{out}/", "tool"),
                f"github.com/prometheus/prometheus {prometheus_module}",
                172,
            ),
            has_pages=True,
        ),
        _Product(
            Release(
                "toxiproxy",
                settings.toxiproxy_version,
                github(repository="Shopify/toxiproxy") + "toxiproxy_{version}_{os}_{arch}.tar.gz",
                {"toxiproxy-server": "toxiproxy-server"},
            ),
            ("--version",),
            Module(
                "toxiproxy",
                settings.toxiproxy_version,
                ("toxiproxy-server",),
                ("-o", "{out}/toxiproxy-server", "tool"),
                f"github.com/Shopify/toxiproxy/v2 v{settings.toxiproxy_version}",
                10,
            ),
        ),
        _Product(
            Release(
                "grafana",
                settings.grafana_version,
                # The number in the name is of the publisher's own build.
                "https://dl.grafana.com/grafana/release/{version}/grafana_{version}_*_{os}_{arch}.tar.gz",
                {"grafana": f"{grafana}/bin/grafana"},
                is_tree=True,
            ),
            ("--version",),
            None,
        ),
    )
