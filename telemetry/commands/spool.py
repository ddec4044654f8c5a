"""`spool ls`, `verify`, `send` and `drop`."""

import argparse
import sys
from pathlib import Path

from ..config import TelemetryConfig
from ..errors import ConfigurationError
from ..export.otlp.transport import Transport, build_transport
from ..export.spool.inspection import DestinationContents, inspect_spool
from ..export.spool.note import remove_if_empty
from ..export.spool.removal import remove_owner, remove_rest, send_owner
from ..settings.endpoint import OTLP_TRACES_PATH, check_endpoint, signal_endpoint
from .exits import Exit, UnusableError
from .sending import GivenUpError, HandSender
from .spool_text import amount, as_json, damages, listing, records_of, size_of


def show(arguments: argparse.Namespace) -> Exit:
    """Shows what waits; fails if anything is damaged or cannot be read."""
    contents = _inspect(_folder_of(arguments))
    if arguments.json:
        print(as_json(records_of(contents)))
    else:
        print(listing(contents) if contents else "nothing waits")
    return _health_of(contents)


def verify(arguments: argparse.Namespace) -> Exit:
    """Checks every record; fails if one is damaged."""
    contents = _inspect(_folder_of(arguments))
    if arguments.json:
        print(as_json(records_of(contents)))
        return _health_of(contents)
    for each in contents:
        if each.trouble is not None:
            print(f"{each.path}: {each.trouble}")
    for line in damages(contents):
        print(line)
    owners = [owner for each in contents for owner in each.owners]
    found = sum(len(each.damage) for each in contents)
    print(f"{amount(owners)} in {sum(owner.records for owner in owners):,} whole records; {found} damaged")
    return _health_of(contents)


def send(arguments: argparse.Namespace) -> Exit:
    """Sends what dead processes left for one destination; fails if anything of it is left."""
    folder = _folder_of(arguments)
    config = _config_to_send(arguments.to)
    contents = _the_only_one(folder)
    try:
        transport = build_transport(config)
    except (OSError, ValueError) as error:
        raise UnusableError(f"the settings cannot be used: {type(error).__name__}: {error}") from error
    sender = HandSender(
        transport, timeout_seconds=config.attempt_timeout_seconds, patience_seconds=arguments.patience
    )
    headers = f", with headers {', '.join(sorted(config.headers))}" if config.headers else ""
    print(
        f"sending {amount(contents.orphaned)}, kept for {contents.destination}, "
        f"to {config.shown_endpoint} ({config.protocol}){headers}",
        file=sys.stderr,
    )
    trouble = _send_all(contents, sender, transport)
    after = next((each for each in _inspect(contents.path, is_gone_well=True)), DestinationContents(folder))
    left = sum(owner.spans for owner in after.orphaned)
    damaged = sum(len(owner.damage) for owner in after.orphaned)
    alive = [owner.pid for owner in contents.alive]
    if arguments.json:
        print(
            as_json(
                {
                    "to": config.shown_endpoint,
                    "delivered": sender.delivered,
                    "rejected": sender.rejected,
                    "left": left,
                    "damaged": damaged,
                    "in_use_by": alive,
                    "trouble": trouble,
                }
            )
        )
    else:
        print(f"{sender.delivered:,} spans delivered, {sender.rejected:,} rejected, {left:,} left")
        if trouble is not None:
            print(f"the receiver did not take everything: {trouble}", file=sys.stderr)
        if damaged:
            print(f"{damaged} damaged records stay: `spool verify` names them", file=sys.stderr)
        _say_who_lives(contents)
    return Exit.UNDONE if left or damaged or trouble is not None else Exit.DONE


def drop(arguments: argparse.Namespace) -> Exit:
    """Deletes what dead processes left, and damaged files, after asking."""
    folder = _folder_of(arguments)
    contents = _inspect(folder)
    for each in contents:
        if each.trouble is not None:
            raise UnusableError(f"{each.path}: {each.trouble}")
    orphaned = [owner for each in contents for owner in each.orphaned]
    quarantined = sum(each.quarantined_bytes for each in contents)
    print(listing(contents) if contents else "nothing waits", file=sys.stderr)
    if orphaned or quarantined:
        what = f"{amount(orphaned)}{_and_damaged(quarantined)}"
        if not arguments.yes and not _is_confirmed(f"Delete {what} of ended processes? [y/N] "):
            print("nothing was deleted", file=sys.stderr)
            return Exit.UNDONE
    dropped = []
    try:
        for each in contents:
            dropped += [owner for owner in each.orphaned if remove_owner(owner.path)]
            remove_rest(each.path)
    except OSError as error:
        raise UnusableError(f"not everything could be deleted: {error}") from error
    if arguments.json:
        counts = {"spans": sum(owner.spans for owner in dropped), "quarantined_bytes": quarantined}
        print(
            as_json(
                {"dropped": counts, "in_use_by": [owner.pid for each in contents for owner in each.alive]}
            )
        )
    else:
        print(f"deleted {amount(dropped)}{_and_damaged(quarantined)}")
        for each in contents:
            _say_who_lives(each)
    return Exit.DONE


def _folder_of(arguments: argparse.Namespace) -> Path:
    if arguments.folder is not None:
        return Path(arguments.folder).expanduser().absolute()
    folder = _config().spool_dir
    if folder is None:
        raise UnusableError("name a folder, or set TELEMETRY_SPOOL_DIR as the service has it")
    return folder


def _config(**settings: object) -> TelemetryConfig:
    try:
        return TelemetryConfig(**settings)
    except ConfigurationError as error:
        raise UnusableError(str(error)) from error


def _config_to_send(url: str) -> TelemetryConfig:
    protocol = _config().protocol
    try:
        check_endpoint(url, protocol)
    except ValueError as error:
        raise UnusableError(f"--to {url!r}: {error}") from error
    # Both forms are meant well: the general endpoint, to which HTTP adds a path, and the one for traces.
    is_whole = url.rstrip("/").endswith(OTLP_TRACES_PATH)
    endpoint = url if is_whole else signal_endpoint(url, protocol, OTLP_TRACES_PATH)
    return _config(traces_endpoint=endpoint, traces_exporter="otlp", sdk_disabled=False)


def _inspect(folder: Path, *, is_gone_well: bool = False) -> list[DestinationContents]:
    try:
        return inspect_spool(folder)
    except FileNotFoundError as error:
        if is_gone_well:
            return []
        raise UnusableError(f"{folder} does not exist: name a folder, or set TELEMETRY_SPOOL_DIR") from error
    except NotADirectoryError as error:
        raise UnusableError(f"{folder} is not a folder") from error
    except OSError as error:
        raise UnusableError(
            f"{folder} cannot be read ({error.strerror or error}): run this as the user that the service has"
        ) from error


def _the_only_one(folder: Path) -> DestinationContents:
    """Returns the one destination for which dead processes left something: to mix them is nobody's wish."""
    contents = _inspect(folder)
    waiting = [each for each in contents if any(owner.files for owner in each.orphaned)]
    if len(waiting) > 1:
        folders = "".join(
            f"\n  {each.path}: {amount(each.orphaned)} for {each.destination}" for each in waiting
        )
        raise UnusableError(f"{folder} has spans for several destinations: name the folder of one{folders}")
    if waiting:
        return waiting[0]
    for each in contents:
        if each.trouble is not None:
            raise UnusableError(f"{each.path}: {each.trouble}")
    alive = [owner.pid for each in contents for owner in each.alive]
    if alive:
        pids = ", ".join(map(str, alive))
        raise UnusableError(
            f"{folder} is in use: what is in it belongs to living processes ({pids}), which send it"
        )
    return contents[0] if len(contents) == 1 else DestinationContents(folder)


def _send_all(contents: DestinationContents, sender: HandSender, transport: Transport) -> str | None:
    """Sends what dead processes left; returns why something was not delivered, or None."""
    try:
        for owner in contents.orphaned:
            send_owner(owner.path, sender.send)
        remove_if_empty(contents.path)
    except GivenUpError as error:
        return str(error)
    except KeyboardInterrupt:
        return "interrupted"
    except OSError as error:
        return f"{error}"
    finally:
        transport.close()
    return sender.refusal


def _and_damaged(size_bytes: int) -> str:
    return f", and {size_of(size_bytes)} of damaged files" if size_bytes else ""


def _is_confirmed(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print("\nno answer: add --yes", file=sys.stderr)
    return answer.strip().lower() in {"y", "yes"}


def _say_who_lives(contents: DestinationContents) -> None:
    for owner in contents.alive:
        print(f"process {owner.pid} lives: {amount([owner])} are its own to send", file=sys.stderr)


def _health_of(contents: list[DestinationContents]) -> Exit:
    is_well = not any(each.damage or each.trouble is not None for each in contents)
    return Exit.DONE if is_well else Exit.UNDONE
