"""What the stack raises: each message says what is wrong and what to do."""


class StackError(Exception):
    """The stack cannot do what was asked; the message is for the user, as it is."""
