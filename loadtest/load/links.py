"""Which trace an answer belongs to, and failures in Locust's own table that end with a trace's address."""

import ast
from typing import Any

from loadtest.load.arguments import TRACE_ID

_MARK = ", e.g. "
_WRAPPER = "CatchResponseError("


class TraceLinks:
    """Remembers which trace a kind of failure is shown with, so that the table stays as short as it was."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str, str], str] = {}

    def note_start(self, **_: Any) -> None:
        """Forgets the run before."""
        self._shown.clear()

    def described(self, method: str, name: str, error: str, trace_id: str, *, template: str) -> str:
        """The error with its link: that of the first failure of its kind that named a trace."""
        kind = (method, name, error)
        if template and trace_id and kind not in self._shown:
            self._shown[kind] = f"{error}{_MARK}{template.replace(TRACE_ID, trace_id)}"
        return self._shown.get(kind, error)

    def unite(self, data: dict[str, Any], **_: Any) -> None:
        """Gives the errors in a worker's report the link that another worker's came with first.

        Must hear of the report before Locust's own statistics do.
        """
        united: dict[str, Any] = {}
        for error in data["errors"].values():
            method, name, text = error["method"], error["name"], plain_error(error["error"])
            if _MARK in error["error"]:
                error["error"] = self._shown.setdefault((method, name, text), error["error"])
            # Locust adds up what has the same key, and asks nothing else of it.
            united[f"{method} {name}: {error['error']}"] = error
        data["errors"] = united


def plain_error(error: object) -> str:
    """An error without its link, the same whether it happened here or came from a worker as a text."""
    text = str(error)
    if text.startswith(_WRAPPER):
        text = str(ast.literal_eval(text[len(_WRAPPER) : -1]))
    return text.partition(_MARK)[0]


def read_trace(response: Any) -> tuple[str, bool]:
    """The trace of an answer, and whether it was sampled (`traceresponse`, W3C Trace Context Level 2 draft).

    Empty and False when it names none.
    """
    fields = str((getattr(response, "headers", None) or {}).get("traceresponse", "")).split("-")
    if len(fields) != 4 or len(fields[1]) != 32:  # noqa: PLR2004 - the header's format
        return "", False
    try:
        return fields[1], bool(int(fields[3], 16) & 1)
    except ValueError:
        return fields[1], False
