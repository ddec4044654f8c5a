"""What lies in a spool, for people and for scripts."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..export.spool.inspection import Damage, DestinationContents, OwnerContents

_KIBIBYTE = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB")


def listing(contents: Sequence[DestinationContents]) -> str:
    """Returns what waits where, a paragraph for each destination."""
    return "\n\n".join("\n".join(_paragraph(each)) for each in contents)


def damages(contents: Sequence[DestinationContents]) -> list[str]:
    """Returns a line for each damaged part."""
    return [_damage(damage) for each in contents for damage in each.damage]


def amount(owners: Sequence[OwnerContents]) -> str:
    """Returns how much some processes left."""
    spans, size = sum(each.spans for each in owners), sum(each.size_bytes for each in owners)
    return f"{spans:,} spans, {size_of(size)}"


def size_of(count: float) -> str:
    """Returns a number of bytes in a fitting unit."""
    unit = _UNITS[0]
    for unit in _UNITS:
        if count < _KIBIBYTE or unit == _UNITS[-1]:
            break
        count /= _KIBIBYTE
    return f"{count:.0f} {unit}" if unit == _UNITS[0] else f"{count:.1f} {unit}"


def as_json(content: object) -> str:
    """Returns JSON for scripts."""
    return json.dumps(content, indent=2)


def records_of(contents: Sequence[DestinationContents]) -> list[dict[str, Any]]:
    """Returns what `ls` and `verify` show, for JSON; sizes are in bytes, times in UTC."""
    return [
        {
            "folder": str(each.path),
            "endpoint": each.destination.endpoint,
            "protocol": each.destination.protocol,
            "trouble": each.trouble,
            "quarantined_files": each.quarantined_files,
            "quarantined_bytes": each.quarantined_bytes,
            "owners": [_owner_record(owner) for owner in each.owners],
        }
        for each in contents
    ]


def _owner_record(owner: OwnerContents) -> dict[str, Any]:
    return {
        "folder": str(owner.path),
        "pid": owner.pid,
        "is_alive": owner.is_alive,
        "files": owner.files,
        "bytes": owner.size_bytes,
        "records": owner.records,
        "spans": owner.spans,
        "oldest": None if owner.oldest_ns is None else _moment(owner.oldest_ns),
        "damage": [
            {
                "file": str(damage.file),
                "offset": damage.offset,
                "bytes": damage.size_bytes,
                "spans": damage.spans,
            }
            for damage in owner.damage
        ],
    }


def _paragraph(contents: DestinationContents) -> list[str]:
    if contents.trouble is not None:
        return [f"{contents.path}: {contents.trouble}"]
    lines = [f"{contents.path}: for {contents.destination}"]
    for owner in contents.owners:
        whose = (
            f"process {owner.pid}, which lives" if owner.is_alive else f"process {owner.pid}, which has ended"
        )
        since = ""
        if owner.oldest_ns is not None:
            hours = max(0.0, time.time() - owner.oldest_ns / 1e9) / 3600
            since = f", since {_moment(owner.oldest_ns)} ({hours:.1f} h)"
        damaged = f", {len(owner.damage)} DAMAGED" if owner.damage else ""
        lines.append(f"  {whose}: {amount([owner])} in {owner.files} file(s){since}{damaged}")
    if not contents.owners:
        lines.append("  nothing waits")
    if contents.quarantined_files:
        size = size_of(contents.quarantined_bytes)
        lines.append(f"  quarantine: {contents.quarantined_files} damaged file(s), {size}")
    return lines


def _damage(damage: Damage) -> str:
    lost = "an unknown number of spans" if damage.spans is None else f"{damage.spans:,} spans"
    return f"{damage.file}: damaged at byte {damage.offset:,}, {size_of(damage.size_bytes)}: {lost}"


def _moment(at_ns: int) -> str:
    try:
        return datetime.fromtimestamp(at_ns // 10**9, UTC).isoformat()
    except (OverflowError, ValueError):  # a clock gone wrong
        return "an impossible time"
