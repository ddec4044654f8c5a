"""`python -m console`: serves the console until it is stopped; `make up` starts it."""

import sys

import uvicorn
from rich.console import Console

from console.app import make_app
from stack.current import current_stack
from stack.errors import StackError
from stack.settings import HOST


def main() -> None:
    """Serves the console on loopback."""
    terminal = Console()
    try:
        settings, runtime, _ = current_stack(terminal)
    except StackError as error:
        sys.exit(f"failed: {error}")
    terminal.print(f"http://{HOST}:{settings.console_port}", highlight=False)
    app = make_app(settings, runtime)
    # The same event loop as in the tests and the services (NiceGUI installs another); one worker, because
    # WEB_CONCURRENCY is for the services only.
    uvicorn.run(app, host=HOST, port=settings.console_port, log_level="warning", loop="asyncio", workers=1)


if __name__ == "__main__":
    main()
