"""Finds the stack's programs: on PATH, in the cache, in the publisher's release archive, or by a Go build.

The sources are tried in this order for each program; `PROGRAMS_FROM` can exclude some. A failed source is
reported in one line. Only Grafana cannot be built: the stack runs without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stack.errors import StackError
from stack.native.cache import cache_locked
from stack.native.go_build import build
from stack.native.on_path import NotOnPathError, programs_on_path
from stack.native.products import Product, products_of
from stack.native.releases import Archive, Downloads, ReleaseError, archive_of
from stack.parts import MissingPart
from stack.settings import StackSettings

_MEBIBYTE = 2**20
_PACKAGED_GRAFANA = Path("/usr/share/grafana")
"""The folder of Grafana's pages and defaults in Debian's and Fedora's packages."""
_NOT_AT_HAND = "it is neither on PATH nor in the cache"


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs that a run is started with."""

    paths: Mapping[str, Path]
    """By the name of the program."""
    with_pages: frozenset[str] = frozenset()
    """Which of Jaeger and Prometheus have their web pages."""
    missing: tuple[MissingPart, ...] = ()
    """The unavailable parts, and why."""

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
class _Found:
    """The programs of a product."""

    paths: Mapping[str, Path]
    is_built: bool = False


@dataclass(frozen=True, slots=True)
class _Download:
    """An archive that can be downloaded."""

    archive: Archive
    size: int | None
    """In bytes."""


@dataclass(frozen=True, slots=True)
class _NoDownload:
    """No archive can be downloaded; `why` is None if none was looked for."""

    why: str | None


_Source = _Download | _NoDownload


@dataclass(frozen=True, slots=True)
class _Ways:
    """The sources in `PROGRAMS_FROM`."""

    setting: str

    def __contains__(self, way: str) -> bool:
        return way in self.setting.split(",")

    def can_build(self, product: Product) -> bool:
        """Returns whether this product can be built."""
        return product.module is not None and "build" in self


def ensure_programs(settings: StackSettings, console: Console) -> Programs:
    """Finds the programs and gets the missing ones; announces the downloads and builds, and shows progress.

    Raises:
        StackError: one of them has no source left; the message says what to do.
    """
    products, ways = products_of(settings), _Ways(settings.programs_from)
    for product in products:
        if product.module is not None:
            product.module.check()
    found: dict[str, _Found | _NoDownload] = {}
    for product in products:
        at_hand = _on_path(product, ways, console) or _in_cache(product, ways)
        if at_hand is not None:
            found[product.name] = at_hand
    if len(found) < len(products):
        with cache_locked(console):
            for product in products:
                if product.name not in found and (cached := _in_cache(product, ways)) is not None:
                    found[product.name] = cached  # by another command, just now
            lacking = [product for product in products if product.name not in found]
            found |= _get_all(lacking, ways, Downloads(settings), console)
    return _programs([(product, found[product.name]) for product in products])


def _on_path(product: Product, ways: _Ways, console: Console) -> _Found | None:
    if "path" not in ways:
        return None
    release = product.release
    try:
        return _Found(programs_on_path(tuple(release.programs), product.version_arguments, release.version))
    except NotOnPathError as error:
        if error.why is not None:
            _print(console, f"{product} is wanted, and {error.why}: not used")
        return None


def _in_cache(product: Product, ways: _Ways) -> _Found | None:
    """Looks in the cache, for a release first, because it has the web pages."""
    if "release" in ways:
        try:
            unpacked = archive_of(product.release).unpacked()
        except ReleaseError:
            unpacked = None
        if unpacked is not None:
            return _Found(unpacked)
    if product.module is not None and "build" in ways:
        built = product.module.built()
        return None if built is None else _Found(built, is_built=True)
    return None


def _get_all(
    products: Sequence[Product], ways: _Ways, downloads: Downloads, console: Console
) -> dict[str, _Found | _NoDownload]:
    """Downloads or builds each product, after checking that every one has a source left.

    Raises:
        StackError: one of them has no source left.
    """
    sources = [(product, _look_for_release(product, ways, downloads)) for product in products]
    for product, source in sources:
        if isinstance(source, _NoDownload):
            _require_alternative(product, source, ways)
    _announce(sources, ways, console)
    return {product.name: _get(product, source, ways, downloads, console) for product, source in sources}


def _look_for_release(product: Product, ways: _Ways, downloads: Downloads) -> _Source:
    if "release" not in ways:
        return _NoDownload(None)
    try:
        archive = archive_of(product.release)
        return _Download(archive, downloads.size_of(archive))
    except ReleaseError as error:
        return _NoDownload(str(error))


def _announce(sources: Sequence[tuple[Product, _Source]], ways: _Ways, console: Console) -> None:
    """Reports planned downloads and builds, with size and duration, and why a download is impossible."""
    downloaded = {str(product): source for product, source in sources if isinstance(source, _Download)}
    built = [
        (product, source.why)
        for product, source in sources
        if isinstance(source, _NoDownload) and ways.can_build(product)
    ]
    # A product that cannot be built is reported at the end, with the other missing ones.
    for why in dict.fromkeys(why for _, why in built if why is not None):
        names = ", ".join(str(product) for product, its_why in built if its_why == why)
        _print(console, f"no download of {names}: {why}")
    if downloaded:
        mebibytes = sum(source.size or 0 for source in downloaded.values()) / _MEBIBYTE
        _print(console, f"to download, once: {', '.join(downloaded)}; {mebibytes:.0f} MiB in all")
    modules = [product.module for product, _ in built if product.module is not None]
    if modules:
        minutes = max(1, round(sum(module.seconds for module in modules) / 60))
        names = ", ".join(f"{module.name} {module.version}" for module in modules)
        _print(
            console,
            f"to build with Go, once: {names}; about {minutes} minutes on 2 cores, "
            "and 3 GB of disk for Go's own caches",
        )


def _get(
    product: Product, source: _Source, ways: _Ways, downloads: Downloads, console: Console
) -> _Found | _NoDownload:
    """Downloads or builds one product; does without Grafana if that fails.

    Raises:
        StackError: no source is left.
    """
    if isinstance(source, _Download):
        try:
            downloads.install(source.archive, console)
        except ReleaseError as error:
            _print(console, f"{product}: {error}")
            source = _NoDownload(str(error))
        else:
            console.print(f"downloaded {product}")
            return _Found(source.archive.paths)
    if product.module is not None and "build" in ways:
        build(product.module, console)
        return _Found(product.module.paths, is_built=True)
    _require_alternative(product, source, ways)
    return source


def _require_alternative(product: Product, refusal: _NoDownload, ways: _Ways) -> None:
    """Accepts a missing download if the product can be built, or is Grafana.

    Raises:
        StackError: no source is left.
    """
    if product.module is not None and not ways.can_build(product):
        raise StackError(
            f"{product} is not available: {refusal.why or _NOT_AT_HAND}; PROGRAMS_FROM="
            f"{ways.setting} excludes other sources (path, release, build)"
        )


def _programs(found: Sequence[tuple[Product, _Found | _NoDownload]]) -> Programs:
    paths: dict[str, Path] = {}
    with_pages, missing = set(), []
    for product, source in found:
        if isinstance(source, _NoDownload):
            why = f"it cannot be built from Go modules, and {source.why or _NOT_AT_HAND}"
            missing.append(MissingPart(product.name, why))
            continue
        paths.update(source.paths)
        if product.has_pages and source.is_built:
            why = "no Go module holds them, and it was built from one; its HTTP API works"
            missing.append(MissingPart(f"{product.name.capitalize()}'s web pages", why))
        elif product.has_pages:
            with_pages.add(product.name)
    return Programs(paths, frozenset(with_pages), tuple(missing))


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)
