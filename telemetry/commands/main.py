"""The command line: its arguments, and the command that they choose, which alone is imported."""

import argparse
import math
import sys
from collections.abc import Sequence

from .exits import Exit, UnusableError

PROGRAM = f"python -m {__name__.removesuffix('.commands.main')}"
_EXITS = (
    "Exit status: 0 if all is well, 1 if something is damaged or left, 2 if the folder or an argument "
    "cannot be used."
)
_FOLDER = (
    "a spool, or the folder of one destination in it, also one copied from another host; by default "
    "TELEMETRY_SPOOL_DIR"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status.

    Args:
        arguments: by default those of the process.
    """
    chosen = _parser().parse_args(arguments)
    # Not before it is known which: settings and transports take a moment to load.
    from . import spool  # noqa: PLC0415 - see above

    run = {"ls": spool.show, "verify": spool.verify, "send": spool.send, "drop": spool.drop}[chosen.action]
    try:
        return run(chosen)
    except UnusableError as error:
        print(f"{PROGRAM} spool {chosen.action}: {error}", file=sys.stderr)
        return Exit.UNUSABLE
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return Exit.UNDONE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Commands for whoever operates a service.")
    topics = parser.add_subparsers(dest="topic", required=True, metavar="COMMAND")
    about = "shows, checks, sends or drops spans that wait on disk"
    spool = topics.add_parser("spool", help=about, description=f"{about.capitalize()}. {_EXITS}")
    actions = spool.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=about, description=f"{about.capitalize()}. {_EXITS}")
        action.add_argument("folder", nargs="?", metavar="FOLDER", help=_FOLDER)
        action.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return action

    add("ls", "shows what waits, where, for which endpoint and since when")
    add("verify", "checks every record, and names those that are damaged")
    send = add(
        "send",
        "sends what dead processes left for one destination, with the headers, protocol and certificates of "
        "the environment, and deletes what was delivered",
    )
    send.add_argument(
        "--to", required=True, metavar="URL", help="the Collector's address, such as http://collector:4317"
    )
    send.add_argument(
        "--patience",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to try again when the Collector cannot be reached or is busy (default: 30)",
    )
    drop = add("drop", "deletes what dead processes left, damaged files included, after showing it")
    drop.add_argument("--yes", action="store_true", help="delete without asking")
    return parser
