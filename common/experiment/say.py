"""What a run tells on standard output."""

import os
import sys


def say(message: str) -> None:
    """Print a line; a reader that has gone, such as ``head``, ends the printing but not the run."""
    try:
        print(message, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
