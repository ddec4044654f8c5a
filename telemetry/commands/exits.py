"""How a command ends."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses, as the help says."""

    DONE = 0
    UNDONE = 1
    """Something is damaged, or left."""
    UNUSABLE = 2
    """A folder or an argument cannot be used."""
    INTERRUPTED = 130


class UnusableError(Exception):
    """A folder or an argument cannot be used; the message says why, and what to do."""
