"""What the engine says of a container, read as the stack's commands want it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stack.digests import digests, edited, written
from stack.health import health_of
from stack.parts import Part
from stack.runtime import PartState, PartStatus

FILES_LABEL = "telemetry.files"
"""compose.yaml gives it what `file_variables` has: an edited file makes another container of it."""
_FILES = {
    "collector": ("collector",),
    "jaeger": ("jaeger",),
    "prometheus": ("prometheus/prometheus.yml", "prometheus/rules", "prometheus/targets"),
    "grafana": ("grafana/grafana.ini", "grafana/provisioning", "grafana/dashboards"),
}


def file_variables() -> dict[str, str]:
    """The digests of the files that each part has mounted, as variables of compose.yaml."""
    return {f"{part.upper()}_FILES": written(digests(*paths)) for part, paths in _FILES.items()}


def is_running(container: Mapping[str, Any]) -> bool:
    """Whether it runs, frozen or not; an absent one, `{}`, does not."""
    return bool(container) and bool(container["State"]["Running"])


def status_of(part: Part, container: dict[str, Any] | None, memory: Mapping[str, int]) -> PartStatus:
    """How a part is, with the memory of all containers by identifier."""
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
    """Why a part has another container than before, without values; None: it has the same one."""
    if before["Id"] == after["Id"]:
        return None
    labels = [each["Config"]["Labels"].get(FILES_LABEL, "") for each in (before, after)]
    reasons = [f"{path} was edited" for path in edited(*labels)]
    if before["Image"] != after["Image"]:
        reasons.append("its image is another one")
    old, new = (
        dict(word.split("=", 1) for word in each["Config"]["Env"] or () if "=" in word)
        for each in (before, after)
    )
    names = sorted(name for name in old | new if old.get(name) != new.get(name))
    if names:
        reasons.append(f"{', '.join(names)} changed")
    return " and ".join(reasons) or "its definition changed"
