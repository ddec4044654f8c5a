"""The stack's exception: each message says what is wrong and what to do."""


class StackError(Exception):
    """The stack cannot do what was asked; the message is shown to the user unchanged."""
