"""The ways a run ends early that are told in a sentence, without a traceback."""


class UserInputError(ValueError):
    """The input cannot be run (exit code 2).

    The message is one sentence that names the key, the value and what is allowed. It is raised
    before any work starts.
    """


class ClientFailedError(RuntimeError):
    """A client raised, never replied or sent what cannot be averaged (exit code 1)."""


class StorageError(RuntimeError):
    """Results could not be written, such as on a full disk (exit code 1).

    What was written before is whole.
    """
