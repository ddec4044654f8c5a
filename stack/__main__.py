"""`python -m stack …`, which the Makefile's targets call."""

import signal

# Until the commands are loaded and install their own signal handlers, Ctrl-C simply ends the process.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from stack.cli import main

if __name__ == "__main__":
    main()
