"""The stack of this checkout, as `.env` and the environment describe it."""

from rich.console import Console

from stack.compose.runtime import ComposeRuntime
from stack.native.runtime import NativeRuntime
from stack.runtime import Runtime, choose_runtime
from stack.settings import StackSettings, load_settings


def current_stack(
    console: Console, *, to_start: bool = False, settings: StackSettings | None = None
) -> tuple[StackSettings, Runtime, str]:
    """Returns the settings, the runtime that the stack is or would be in, and the reason for that choice.

    Args:
        console: where the runtimes report progress.
        to_start: whether the stack is about to be started.
        settings: the settings, if they are loaded already.

    Raises:
        StackError: a setting is malformed, or another runtime holds the ports.
    """
    settings = settings or load_settings()
    runtime, reason = choose_runtime(settings, runtimes_of(settings, console), to_start=to_start)
    return settings, runtime, reason


def runtimes_of(settings: StackSettings, console: Console) -> tuple[Runtime, ...]:
    """Returns every runtime that the stack could be in, the preferred one first."""
    return ComposeRuntime(settings, console), NativeRuntime(settings, console)
