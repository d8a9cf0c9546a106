"""Ctrl-C once ends a run in order, twice at once; so does the signal to terminate."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption(KeyboardInterrupt):
    """A KeyboardInterrupt that knows the signal behind it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def interruption_code(interruption: KeyboardInterrupt) -> int:
    """Return the exit code: 128 and the signal's number, as shells have it; 130 for Ctrl-C."""
    return 128 + getattr(interruption, "number", signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first signal in the block into an Interruption; end the process with the second.

    What is being written is finished after the first. The second leaves whole files, too. A process
    started with SIGINT ignored, as shells start those in the background, goes on ignoring it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers, and only it is interrupted.
        return
    taken = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    seen: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if seen:
            print("Interrupted again: ending at once.", file=sys.stderr, flush=True)
            os._exit(128 + number)
        seen.append(number)
        raise Interruption(number)

    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        # After a first signal a second may still come, while Python and Ray shut down.
        if not seen:
            for number, handler in before.items():
                signal.signal(number, handler)
