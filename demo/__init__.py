"""`make demo`: an outage told on the terminal, with Python alone."""
