"""What is wrong with an archive, or with a log that it is held against."""


class ArchiveError(ValueError):
    """The message is a sentence for the operator, which says what to do."""
