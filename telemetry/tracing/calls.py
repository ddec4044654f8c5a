"""One wrapper for four kinds of functions.

A decorator implements its hooks for resume, pause and end as a `Call`; `wrap` turns a function into one of
the same kind (plain, coroutine, generator, asynchronous generator) that runs under such a call. The wrapper
never changes a result or an exception and runs the body exactly once. Its own failures are not raised, and
each is logged once.
"""

import functools
import inspect
import itertools
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextvars import Context
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any, ParamSpec, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

from .step_context import StepContext

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_moments = itertools.count()
_logged: set[tuple[type, type[Exception]]] = set()


class Layer(IntEnum):
    """The position of a decorator's call among stacked ones, from the function's body outwards."""

    ERRORS = auto()
    DURATION = auto()
    SPAN = auto()


class Call:
    """One call of a decorated function, used by one thread at a time.

    It is a context manager around the body, paused while a generator is suspended. Subclasses override
    the `on_` methods, which may raise.
    """

    has_context = False
    """Whether the steps of a generator must run in one context, because the call makes something current."""
    is_recorded = False
    """Whether the exception that ended the call has been recorded on a span."""
    is_counted = False
    """Whether the exception that ended the call has been counted."""

    def __init__(self) -> None:
        self.began = self.ended = next(_moments)

    def on_resume(self) -> None:
        """Runs before each step of the body."""

    def on_pause(self) -> None:
        """Runs after each step of the body."""

    def on_end(self, error: BaseException | None) -> None:
        """Runs once, after the last step; `error` is the exception that left the body, if any."""

    def resume(self) -> None:
        """Signals that a step of the body begins; never raises."""
        try:
            self.on_resume()
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the body runs
            _log_once(self, failure)

    def pause(self) -> None:
        """Signals that the step is over; never raises."""
        try:
            self.on_pause()
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the result is the body's
            _log_once(self, failure)

    def end(self, error: BaseException | None) -> None:
        """Signals that the last step is over, and the exception that left it; never raises."""
        try:
            if error is not None and isinstance(error, Exception):
                inner = self._last_left_by(error)
                if inner is not None:
                    self.is_recorded, self.is_counted = inner.is_recorded, inner.is_counted
            self.on_end(error)
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the result is the body's
            _log_once(self, failure)
        finally:
            self.ended = next(_moments)

    __enter__ = resume

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        if error is not None:
            self.pause()
            self.end(error)
            return
        try:  # the usual way, in one step
            try:
                self.on_pause()
            finally:
                self.on_end(None)
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the result is the body's
            _log_once(self, failure)
        finally:
            self.ended = next(_moments)

    def _last_left_by(self, error: Exception) -> "Call | None":
        """Finds the call inside this one that the exception left last.

        The traceback records the exception's path, across tasks and threads too. When the same instance is
        raised again, it still has the frames of earlier raises: their calls ended before this one began.
        """
        traceback = error.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if frame.f_globals is _OWN_GLOBALS:
                call = frame.f_locals.get("call")
                if isinstance(call, Call) and call is not self:
                    return call if call.ended > self.began else None
            traceback = traceback.tb_next
        return None


Begin = Callable[[str], Call | None]
"""Opens a call of the function with that name; None leaves the function alone this time."""


class Decorator(Protocol):
    """A decorator that keeps the type of the decorated function."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Decorates `function`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    layer: Layer
    begin: Begin
    without: Mapping[Layer, Begin]
    """What opens the call instead, where a layer is not in the stack."""

    def begin_in(self, layers: Collection[Layer]) -> Begin:
        return next((begin for layer, begin in self.without.items() if layer not in layers), self.begin)


_stacks: WeakKeyDictionary[Callable[..., Any], tuple[Callable[..., Any], tuple[_Entry, ...]]]
_stacks = WeakKeyDictionary()
_OWN_GLOBALS = globals()


def wrap(
    function: Callable[P, R], layer: Layer, begin: Begin, *, without: Mapping[Layer, Begin] | None = None
) -> Callable[P, R]:
    """Returns a function of the same kind, each call of which runs under the `Call` that `begin` opens.

    Layers stacked directly on one another are sorted in the order of `Layer`, however they were applied.
    Accepts class methods and static methods as well as functions.

    Args:
        function: the function to wrap.
        layer: the decorator's layer.
        begin: opens the decorator's call.
        without: what opens it instead, where that layer is not stacked on the function, too.

    Raises:
        TypeError: `function` is a class or a property, or is not callable.
    """
    if isinstance(function, classmethod | staticmethod):
        return type(function)(wrap(function.__func__, layer, begin, without=without))
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"{function!r} is not a function; decorate the functions it is made of")
    # Only functions are looked up: other callables may not be hashable.
    body, layers = _stacks.get(function, (function, ())) if inspect.isfunction(function) else (function, ())
    layers = tuple(sorted((*layers, _Entry(layer, begin, without or {})), key=lambda entry: entry.layer))
    present = {entry.layer for entry in layers}
    wrapped: Callable[..., Any] = body
    for entry in layers:
        wrapped = _wrap_once(wrapped, functools.partial(entry.begin_in(present), qualified_name(body)))
    _stacks[wrapped] = body, layers
    return wrapped


def qualified_name(function: Callable[..., Any]) -> str:
    """Returns the name of a function in spans and metrics: `module.Class.method`."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _wrap_once(function: Callable[..., Any], begin: Callable[[], Call | None]) -> Callable[..., Any]:
    code = function
    while isinstance(code, functools.partial):
        code = code.func
    if not inspect.isroutine(code):
        code = type(code).__call__  # an object: its kind is that of its class's method
    if inspect.isasyncgenfunction(code):
        return _wrap_async_generator(function, begin)
    if inspect.isgeneratorfunction(code):
        return _wrap_generator(function, begin)
    if inspect.iscoroutinefunction(code):
        return _wrap_coroutine(function, begin)
    return _wrap_plain(function, begin)


# Call._last_left_by finds a wrapper's call in a traceback by its local name, `call`. No wrapper binds a name
# to an exception that it lets through: frame and exception would keep one another alive.


def _wrap_plain(function: Callable[..., Any], begin: Callable[[], Call | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            call = begin()
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the function runs
            _log_once(begin, failure)
            call = None
        if call is None:
            return function(*args, **kwargs)
        with call:
            return function(*args, **kwargs)

    return wrapper


def _wrap_coroutine(function: Callable[..., Any], begin: Callable[[], Call | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            call = begin()
        except Exception as failure:  # noqa: BLE001 - it is logged there, and the function runs
            _log_once(begin, failure)
            call = None
        if call is None:
            return await function(*args, **kwargs)
        with call:
            return await function(*args, **kwargs)

    return wrapper


def _wrap_generator(function: Callable[..., Any], begin: Callable[[], Call | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = _quietly(begin)
        if call is None:
            return (yield from function(*args, **kwargs))
        steps = StepContext() if call.has_context else None
        with _Steps(call, steps) as step:
            body = function(*args, **kwargs)
            sent = thrown = None
            while True:
                try:
                    if steps is None:
                        produced = body.send(sent) if thrown is None else body.throw(thrown)
                    elif thrown is None:
                        produced = steps.context.run(body.send, sent)
                    else:
                        produced = steps.context.run(body.throw, thrown)
                except StopIteration as stop:
                    return stop.value
                finally:
                    thrown = None
                step.end()
                try:
                    sent = yield produced
                except BaseException as error:  # noqa: BLE001 - for the body to handle, GeneratorExit too
                    thrown = error
                step.begin()

    return wrapper


class _Steps:
    """The steps of a generator under its call; a context manager around the body."""

    def __init__(self, call: Call, steps: StepContext | None) -> None:
        self._call = call
        self._steps = steps

    def begin(self) -> None:
        """Signals that a step begins."""
        if self._steps is None:
            self._call.resume()
        else:
            _quietly(self._steps.enter)
            self._steps.context.run(self._call.resume)

    def end(self) -> None:
        """Signals that the step is over."""
        if self._steps is None:
            self._call.pause()
        else:
            self._steps.context.run(self._call.pause)
            _quietly(self._steps.leave)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self.end()
        self._call.end(error)


def _wrap_async_generator(
    function: Callable[..., Any], begin: Callable[[], Call | None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = _quietly(begin) or Call()
        steps = StepContext() if call.has_context else None
        with _Steps(call, steps) as outer:
            body = function(*args, **kwargs)
            step = _begin_unknown_to_loop(body)
            while True:
                try:
                    produced = await (step if steps is None else _AsyncStep(step, steps.context))
                except StopAsyncIteration:
                    return
                finally:
                    del step
                outer.end()
                try:
                    try:
                        sent = yield produced
                    finally:
                        outer.begin()
                except GeneratorExit:
                    closing = body.aclose()
                    await (closing if steps is None else _AsyncStep(closing, steps.context))
                    raise
                except BaseException as error:  # noqa: BLE001 - for the body to handle
                    step = body.athrow(error)
                else:
                    step = body.asend(sent)

    return wrapper


class _AsyncStep:
    """One step of an asynchronous generator, all of whose parts between two waits run in its context."""

    def __init__(self, step: Any, context: Context) -> None:
        self._step = step
        self._context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        run, part = self._context.run, self._step.__await__()
        sent = thrown = None
        try:
            while True:
                try:
                    waits_for = run(part.send, sent) if thrown is None else run(part.throw, thrown)
                except StopIteration as stop:
                    return stop.value
                finally:
                    thrown = None
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - for the body to handle
                    thrown = error
        finally:
            del part, self._step  # they may hold the exception that now goes up, and holds this frame


def _begin_unknown_to_loop(body: AsyncGenerator[Any, Any]) -> Any:
    # When an event loop shuts down, it closes all the generators it knows concurrently. If it knew the body
    # as well as the wrapper, both would close the body.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _quietly(action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Runs `action`, and logs its failure once instead of raising: telemetry never breaks the app."""
    try:
        return action(*args, **kwargs)
    except Exception as failure:  # noqa: BLE001 - it is logged there
        _log_once(getattr(action, "__self__", action), failure)
        return None


def _log_once(owner: object, failure: Exception) -> None:
    kind = type(owner), type(failure)
    if kind not in _logged:
        _logged.add(kind)
        logger.error(
            "Telemetry of a decorated function failed; further failures are not logged", exc_info=failure
        )
