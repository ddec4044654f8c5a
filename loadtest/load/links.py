"""Reads the trace of a response, and links failures in Locust's own table to their traces."""

import ast
from typing import Any

from loadtest.load.arguments import TRACE_ID

_MARK = ", e.g. "
_WRAPPER = "CatchResponseError("


class TraceLinks:
    """The trace that each kind of failure is shown with; one per kind, so that the table stays short."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str, str], str] = {}

    def note_start(self, **_: Any) -> None:
        """Forgets the previous run."""
        self._shown.clear()

    def described(self, method: str, name: str, error: str, trace_id: str, *, template: str) -> str:
        """Returns the error with a link to the first failure of its kind that named a trace."""
        kind = (method, name, error)
        if template and trace_id and kind not in self._shown:
            self._shown[kind] = f"{error}{_MARK}{template.replace(TRACE_ID, trace_id)}"
        return self._shown.get(kind, error)

    def unite(self, data: dict[str, Any], **_: Any) -> None:
        """Replaces links in a worker's report with the first one that any worker sent for the same error.

        Must be called before Locust's own statistics receive the report.
        """
        united: dict[str, Any] = {}
        for error in data["errors"].values():
            method, name, text = error["method"], error["name"], plain_error(error["error"])
            if _MARK in error["error"]:
                error["error"] = self._shown.setdefault((method, name, text), error["error"])
            # Locust adds up errors by this key alone.
            united[f"{method} {name}: {error['error']}"] = error
        data["errors"] = united


def plain_error(error: object) -> str:
    """Returns an error's text without its link, whether it occurred here or came from a worker as text."""
    text = str(error)
    if text.startswith(_WRAPPER):
        text = str(ast.literal_eval(text[len(_WRAPPER) : -1]))
    return text.partition(_MARK)[0]


def read_trace(response: Any) -> tuple[str, bool]:
    """Returns a response's trace id, and whether the trace was sampled; empty and False if it names none.

    They are in the `traceresponse` header of the W3C Trace Context Level 2 draft.
    """
    fields = str((getattr(response, "headers", None) or {}).get("traceresponse", "")).split("-")
    if len(fields) != 4 or len(fields[1]) != 32:  # noqa: PLR2004 - the header's format
        return "", False
    try:
        return fields[1], bool(int(fields[3], 16) & 1)
    except ValueError:
        return fields[1], False
