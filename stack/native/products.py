"""The programs of the native stack, each with its publisher's release and its Go module."""

from dataclasses import dataclass

from packaging.version import Version

from stack.native.go_build import Module
from stack.native.releases import Release
from stack.settings import StackSettings


@dataclass(frozen=True, slots=True)
class Product:
    """The programs of one publisher, with the ways to get them."""

    release: Release
    version_arguments: tuple[str, ...]
    """The arguments with which its programs print their version."""
    module: Module | None
    """None if it cannot be built; the stack can then run without it."""
    has_pages: bool = False
    """Whether it has web pages, which its Go module does not contain."""

    @property
    def name(self) -> str:
        """The product's name."""
        return self.release.name

    def __str__(self) -> str:
        """Returns the name and the wanted version."""
        return f"{self.release.name} {self.release.version}"


def modules_of(settings: StackSettings) -> tuple[Module, ...]:
    """Returns the modules that can be built, with the versions from the settings."""
    return tuple(each.module for each in products_of(settings) if each.module is not None)


def products_of(settings: StackSettings) -> tuple[Product, ...]:
    """Returns every product, with the versions from the settings."""
    major, minor, patch = (*Version(settings.prometheus_version).release, 0, 0)[:3]
    prometheus_module = f"v0.{major}{minor:02}.{patch}"  # how Prometheus numbers its Go module
    github = "https://github.com/{repository}/releases/download/v{{version}}/".format
    grafana = "grafana-{version}"
    return (
        Product(
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
        Product(
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
        Product(
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
                # Leaves out the cloud service discoveries; file_sd stays.
                ("-tags", "remove_all_sd", "-o", "{out}/", "tool"),
                f"github.com/prometheus/prometheus {prometheus_module}",
                172,
            ),
            has_pages=True,
        ),
        Product(
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
        Product(
            Release(
                "grafana",
                settings.grafana_version,
                # The `*` stands for the publisher's build number.
                "https://dl.grafana.com/grafana/release/{version}/grafana_{version}_*_{os}_{arch}.tar.gz",
                {"grafana": f"{grafana}/bin/grafana"},
                is_tree=True,
            ),
            ("--version",),
            None,
        ),
    )
