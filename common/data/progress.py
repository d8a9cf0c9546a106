"""Progress of what is done once and kept, on standard error: a bar in a terminal, or two lines."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress


class OnceProgress:
    """Shows how many examples are done, in a ``with`` block.

    Args:
        title: What is being done, such as "decoding imagenette-train".
        num_examples: With how many examples.
    """

    def __init__(self, title: str, num_examples: int) -> None:
        self._title = title
        self._num_examples = num_examples
        self._start = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (*Progress.get_default_columns(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._num_examples)
        else:
            _say(f"{self._title}: {self._num_examples:,} examples, once")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif error is None:
            _say(f"{self._title}: done in {time.monotonic() - self._start:.0f} s")

    def advance(self, num_examples: int) -> None:
        """Show that further examples are done."""
        if self._bar is not None:
            self._bar.advance(self._task, num_examples)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
