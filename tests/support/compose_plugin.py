"""Docker's compose plugin, for tests on a machine that has an engine but no plugin."""

from pathlib import Path

from rich.console import Console

from stack.native.cache import cache_locked
from stack.native.go_build import Module, build

COMPOSE_PLUGIN = Module(
    "compose",
    "2.40.3",
    ("cli-plugins/docker-compose",),
    ("-o", "{out}/cli-plugins/docker-compose", "github.com/docker/compose/v2/cmd"),
    "github.com/docker/compose/v2 v2.40.3",
    116,
)


def ensure_compose_plugin(console: Console) -> Path:
    """Returns a folder for `DOCKER_CONFIG` with docker's compose plugin; builds it if the cache lacks it.

    See `ensure_programs` for the errors that it raises.
    """
    COMPOSE_PLUGIN.check()
    if COMPOSE_PLUGIN.built() is None:
        with cache_locked(console):
            if COMPOSE_PLUGIN.built() is None:
                build(COMPOSE_PLUGIN, console)
    return COMPOSE_PLUGIN.entry
