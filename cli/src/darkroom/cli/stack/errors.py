"""What the stack's parts raise."""

from darkroom.cli.errors import UserError


class StackError(UserError):
    """A part of the stack cannot be had or started; the message is for the user and says what to do."""
