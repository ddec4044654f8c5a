"""A context that a generator keeps from step to step, whoever takes its steps.

A generator's steps may run in different contexts: a server that streams a plain generator takes each step in
a thread with a copy of the task's context, and a garbage collector closes one from anywhere. A span that the
body opens in one step and ends in another can then not be detached: OpenTelemetry logs "Failed to detach
context", and the spans after it get the wrong parent. So all steps run in one context, in which the current
span is the generator's own affair. All other variables are the consumer's: their values are carried in before
a step, and what the body has changed in the step is carried out after it, as if the body ran there.
"""

from contextlib import suppress
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any

from .current_context import CURRENT_CONTEXT

_ABSENT = object()


class StepContext:
    """The context of one generator, for one thread at a time: `enter`, run the step in `context`, `leave`."""

    def __init__(self) -> None:
        self.context = Context()
        """Where the steps run."""
        self._before = self.context
        """A copy of it from the beginning of the step."""
        self._carried_in: dict[ContextVar[Any], Token[Any]] = {}
        self._carried_out: dict[ContextVar[Any], Token[Any]] = {}
        """The first token of each variable, by which it is unset again."""

    def enter(self) -> None:
        """Gives the body the values of the context that takes the step."""
        own, outside = self.context, copy_context()
        for variable, value in outside.items():
            if variable is not CURRENT_CONTEXT and own.get(variable, _ABSENT) is not value:
                token = own.run(variable.set, value)
                self._carried_in.setdefault(variable, token)
        for variable in [each for each in self._carried_in if each not in outside]:
            own.run(variable.reset, self._carried_in.pop(variable))
        self._before = own.copy()

    def leave(self) -> None:
        """Gives that context the values that the body has changed in this step."""
        own, before = self.context, self._before
        for variable, value in own.items():
            if variable is not CURRENT_CONTEXT and before.get(variable, _ABSENT) is not value:
                self._carried_out.setdefault(variable, variable.set(value))
        for variable in [each for each in self._carried_out if each not in own]:
            with suppress(ValueError):  # it was set in another context, which never had it otherwise
                variable.reset(self._carried_out.pop(variable))
