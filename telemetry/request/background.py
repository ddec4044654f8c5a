"""Starlette's background tasks, unknown to ASGI: whether there are any, and whether one failed."""

import sys
from types import FrameType

from starlette import background
from starlette.responses import Response


def has_background_work() -> bool:
    """Whether the response that is sending its last message goes on with Starlette's background tasks.

    ASGI has no word for them, so it is asked of the response itself, which is among the callers.
    """
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - documented, and the only way to the response
    while frame is not None:
        sender = frame.f_locals.get("self")
        if isinstance(sender, Response):
            # FastAPI gives an endpoint that asks for `BackgroundTasks` a list of them, which may stay empty.
            work = sender.background
            return work is not None and bool(getattr(work, "tasks", True))
        frame = frame.f_back
    return False


def is_of_background_work(error: BaseException) -> bool:
    """Whether a response's background task raised it, not the answer or what a request closes."""
    step, caller = error.__traceback__, None
    while step is not None:
        if step.tb_frame.f_code.co_filename == background.__file__:
            # An endpoint may run a task itself.
            return isinstance(caller, Response)
        caller = step.tb_frame.f_locals.get("self")
        step = step.tb_next
    return False
