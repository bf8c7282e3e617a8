"""What the commands raise for the user to read.

UserError           printed as "darkroom: …", exit code 1
├── StackError      a part of the embedded stack cannot be had or started (stack/errors.py)
└── NoStack         no running stack was found (connect.py)
"""


class UserError(Exception):
    """The message is for the user and says what to do."""
