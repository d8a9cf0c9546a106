"""Progress of decoding, on standard error: a bar in a terminal, two lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress


class DecodingProgress:
    """Shows how many images are decoded, in a ``with`` block.

    Args:
        title: What is decoded.
        num_images: How many images that are.
    """

    def __init__(self, title: str, num_images: int) -> None:
        self._title = title
        self._num_images = num_images
        self._start = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (*Progress.get_default_columns(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(f"decoding {self._title}", total=self._num_images)
        else:
            _say(f"decoding the {self._num_images:,} images of {self._title}, once")
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
            seconds = time.monotonic() - self._start
            _say(f"decoded {self._title} in {seconds:.0f} s")

    def advance(self, num_images: int) -> None:
        """Show that further images are decoded."""
        if self._bar is not None:
            self._bar.advance(self._task, num_images)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
