"""`make demo`: an outage shown on the terminal, with Python alone."""
