"""The two ways a run ends early, told apart because they have different exit codes."""


class UserInputError(ValueError):
    """The input cannot be run (exit code 2).

    The message is one sentence that names the key, the value and what is allowed. It is raised
    before any work starts.
    """


class ClientFailedError(RuntimeError):
    """A client raised or never replied, so the round has no result (exit code 1)."""
