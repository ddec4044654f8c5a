"""Interprets the engine's description of a container for the stack's commands."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stack.digests import digests, edited, written
from stack.health import health_of
from stack.parts import Part
from stack.runtime import PartState, PartStatus

FILES_LABEL = "telemetry.files"
"""compose.yaml sets it from `file_variables`, so that an edited file makes compose recreate the container."""
_FILES = {
    "collector": ("collector",),
    "jaeger": ("jaeger",),
    "prometheus": ("prometheus/prometheus.yml", "prometheus/rules", "prometheus/targets"),
    "grafana": ("grafana/grafana.ini", "grafana/provisioning", "grafana/dashboards"),
}


def file_variables() -> dict[str, str]:
    """Returns the digests of the files that each part has mounted, as variables for compose.yaml."""
    return {f"{part.upper()}_FILES": written(digests(*paths)) for part, paths in _FILES.items()}


def is_running(container: Mapping[str, Any]) -> bool:
    """Returns whether a container runs, frozen or not; `{}`, an absent one, does not."""
    return bool(container) and bool(container["State"]["Running"])


def status_of(part: Part, container: dict[str, Any] | None, memory: Mapping[str, int]) -> PartStatus:
    """Returns a part's status; `memory` is that of all containers by identifier."""
    if container is None:
        return PartStatus(part, PartState.STOPPED)
    state = container["State"]
    if not is_running(container):
        why = "out of memory" if state["OOMKilled"] else f"exit status {state['ExitCode']}"
        return PartStatus(part, PartState.STOPPED, detail=why)
    started = datetime.fromisoformat(state["StartedAt"])
    uptime = (datetime.now(UTC) - started).total_seconds()
    found, detail = (PartState.PAUSED, "") if state["Paused"] else health_of(part)
    return PartStatus(part, found, state["Pid"], memory.get(container["Id"]), uptime, detail)


def why_replaced(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Returns why a part's container was replaced, without values, or None if it is still the same."""
    if before["Id"] == after["Id"]:
        return None
    labels = [each["Config"]["Labels"].get(FILES_LABEL, "") for each in (before, after)]
    reasons = [f"{path} was edited" for path in edited(*labels)]
    if before["Image"] != after["Image"]:
        reasons.append("its image has changed")
    old, new = (
        dict(word.split("=", 1) for word in each["Config"]["Env"] or () if "=" in word)
        for each in (before, after)
    )
    names = sorted(name for name in old | new if old.get(name) != new.get(name))
    if names:
        reasons.append(f"{', '.join(names)} changed")
    return " and ".join(reasons) or "its definition changed"
