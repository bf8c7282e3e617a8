"""The exceptions of Darkroom, drawn once; they know no HTTP (each API maps them in one table).

DarkroomError
├── Undecodable          a record or event that cannot be read
├── Unavailable          something is away or behind; trying again later may help
│   ├── LogUnavailable   the broker does not answer within the deadline
│   ├── TailBehind       this instance has not read far enough to decide
│   ├── StoreUnavailable the database or blob store does not answer
│   └── ReadModelBehind  the read model has not reached the position that was asked for
├── BlobMissing          the blob store holds no such digest (a KeyError, too)
├── Refused              a command that may not take effect; carries the refusal
└── BadMedia             a picture that cannot be used; carries a problem name
"""

from darkroom.schemas.job import Refusal


class DarkroomError(Exception):
    """Root of all errors that Darkroom raises on purpose."""


class Undecodable(DarkroomError):
    """A record that is not an event of ours; the message says what is wrong with it."""


class Unavailable(DarkroomError):
    """A part does not answer or is behind. The effect of a command may still land: repeat it under its key."""

    retry_after_s = 1


class LogUnavailable(Unavailable):
    """The log did not answer within the deadline."""


class TailBehind(Unavailable):
    """This instance's view of the log is behind; it does not guess."""


class StoreUnavailable(Unavailable):
    """The database or the blob store did not answer within the deadline."""


class ReadModelBehind(Unavailable):
    """The read model has not reached a position within the wait."""


class BlobMissing(DarkroomError, KeyError):
    """The blob store holds nothing under a digest."""

    def __str__(self) -> str:  # KeyError would show the repr
        return Exception.__str__(self)


class Refused(DarkroomError):
    """A command that may not take effect."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class BadMedia(DarkroomError):
    """A picture that cannot be used. `problem` is the last part of its problem type, as in `picture-broken`."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
