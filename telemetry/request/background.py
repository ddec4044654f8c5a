"""Starlette's background tasks, unknown to ASGI: whether there are any, and whether one failed."""

import sys
from types import CodeType, FrameType

from starlette.responses import Response


class BackgroundWork:
    """Tells whether a response goes on with Starlette's background tasks; for one application. Thread-safe.

    ASGI has no word for them, so it is asked of the response itself, which is among the callers.
    """

    def __init__(self) -> None:
        # Whatever is between a response and its server is the same for most requests, and a frame that is
        # looked at costs more than all else here.
        self._depth = 0
        self._code: CodeType | None = None

    def is_ahead(self) -> bool:
        """Whether the response that is sending its last message has any; called by the one that sends it."""
        try:
            found = self._look(sys._getframe(self._depth))  # noqa: SLF001 - documented
        except ValueError:  # there are fewer
            found = None
        if found is None:
            found = self._search()
        # FastAPI gives an endpoint that asks for `BackgroundTasks` a list of them, which may stay empty.
        work = None if found is None else found.background
        return work is not None and bool(getattr(work, "tasks", True))

    def _look(self, frame: FrameType) -> Response | None:
        return _response_of(frame) if frame.f_code is self._code else None

    def _search(self) -> Response | None:
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented, and the only way to it
        depth = 0
        while frame is not None:
            found = _response_of(frame)
            if found is not None:
                self._depth, self._code = depth, frame.f_code
                return found
            frame = frame.f_back
            depth += 1
        return None


def _response_of(frame: FrameType) -> Response | None:
    """Returns the response one of whose methods a frame is; None if it is none."""
    sender = frame.f_locals.get("self")
    return sender if isinstance(sender, Response) else None


def is_of_background_work(error: BaseException) -> bool:
    """Whether a response's background task raised it, not the answer or what a request closes."""
    step, caller = error.__traceback__, None
    while step is not None:
        called = step.tb_frame.f_locals.get("self")
        # An endpoint may run a task itself; then it is not its response that calls it.
        if called is not None and isinstance(caller, Response) and called is caller.background:
            return True
        step, caller = step.tb_next, called
    return False
