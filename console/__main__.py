"""`python -m console`: serves the page until it is ended; `make up` starts it."""

import sys

import uvicorn
from rich.console import Console

from console.app import make_app
from stack.current import current_stack
from stack.errors import StackError
from stack.settings import HOST


def main() -> None:
    """Serves it on loopback."""
    terminal = Console()
    try:
        settings, runtime, _ = current_stack(terminal)
    except StackError as error:
        sys.exit(f"failed: {error}")
    terminal.print(f"http://{HOST}:{settings.console_port}", highlight=False)
    app = make_app(settings, runtime)
    # The loop of the tests and of the services (NiceGUI brings another), whose alone WEB_CONCURRENCY is.
    uvicorn.run(app, host=HOST, port=settings.console_port, log_level="warning", loop="asyncio", workers=1)


if __name__ == "__main__":
    main()
