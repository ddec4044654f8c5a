"""Writes the dashboards that Grafana reads: `python -m grafana.generate`, or `--check` to compare only."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.service_dashboard import service_dashboard

SERVICE_FILE = Path(__file__).parent / "dashboards" / "service.json"


def service_json() -> str:
    """The dashboard "Service" as Grafana reads it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(service_dashboard()) + "\n"


def main(arguments: Sequence[str], file: Path = SERVICE_FILE) -> None:
    """Writes the file; with `--check` exits with a message when it is not what would be written."""
    parser = ArgumentParser(prog="python -m grafana.generate", description="Write the dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    made = service_json()
    if not parser.parse_args(arguments).check:
        file.write_text(made)
    elif not file.exists() or file.read_text() != made:
        sys.exit(f"{file} is not what service_dashboard.py makes: run `python -m grafana.generate`")


if __name__ == "__main__":
    main(sys.argv[1:])
