"""What can go wrong in a user's hands: every error carries the next thing to do and an exit code."""

from __future__ import annotations


class EnergydiagError(Exception):
    """A mistake or a limit that the user can act on; the command line prints it as one line, without a traceback.

    Args:
        message: What was expected and what came.
        next_step: What to do or type now.
    """

    exit_code = 2

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} Next: {self.next_step}"


def first_line(error: BaseException) -> str:
    """What an error from elsewhere says, in one line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class UsageError(EnergydiagError):
    """Options that do not fit together or that are missing."""


class UnreadableFile(EnergydiagError):
    """A file that is missing, truncated, of no known format, or not safe to read."""


class InvalidBatch(EnergydiagError):
    """A batch dump that was read but whose contents do not fit its format."""


class InvalidCheckpoint(EnergydiagError):
    """Weights that were read but do not fit the model they are meant for."""


class ModelFailed(EnergydiagError):
    """The model raised, or answered with something that is no energy."""
