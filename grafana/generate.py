"""Writes the dashboards that Grafana reads: `python -m grafana.generate`, or `--check` to only compare."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.collector_dashboard import collector_dashboard
from grafana.load_dashboard import load_dashboard
from grafana.pipeline_dashboard import pipeline_dashboard
from grafana.service_dashboard import service_dashboard

FOLDER = Path(__file__).parent / "dashboards"


def made() -> dict[str, str]:
    """Returns each dashboard in Grafana's JSON, by file name."""
    dashboards = {
        "service.json": service_dashboard(),
        "pipeline.json": pipeline_dashboard(),
        "collector.json": collector_dashboard(),
        "load.json": load_dashboard(),
    }
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {name: encoder.encode(dashboard) + "\n" for name, dashboard in dashboards.items()}


def main(arguments: Sequence[str], folder: Path = FOLDER) -> None:
    """Writes the files; with `--check` only exits with a message if the folder's files differ."""
    parser = ArgumentParser(prog="python -m grafana.generate", description="Write the dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    is_check = parser.parse_args(arguments).check
    texts = made()
    there = {file.name: file.read_text() for file in folder.glob("*.json")}
    if is_check:
        different = sorted(name for name in texts.keys() | there.keys() if texts.get(name) != there.get(name))
        if different:
            sys.exit(f"{', '.join(different)} in {folder}: not what grafana/ makes; run `make dashboards`")
        return
    for name in there.keys() - texts.keys():
        (folder / name).unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
