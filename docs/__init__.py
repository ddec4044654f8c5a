"""The documentation, and the generator of its configuration page."""
