"""Progress of a run: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from common.experiment.say import say

_PLAIN_LINES = 10


class Progress:
    """Shows round, test accuracy, test loss and the time left.

    In a terminal it is a bar, updated each round. Elsewhere it is some ten lines over the run, or
    one every half minute if rounds are slow.

    Args:
        num_rounds: Rounds of the run.
        last_round: The round that it goes on after, 0 at the beginning.
    """

    def __init__(self, num_rounds: int, last_round: int = 0) -> None:
        self._num_rounds = num_rounds
        self._last_round = last_round
        self._start = self._last_line = time.monotonic()
        self._after_first_round: float | None = None
        self._bar = _make_bar() if sys.stdout.isatty() else None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                f"round {self._last_round}",
                total=self._num_rounds,
                completed=self._last_round,
                figures="",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def round_finished(self, round: int, test_accuracy: float, test_loss: float) -> None:
        """Show that a round is over.

        Args:
            round: The round, from 1.
            test_accuracy: In [0, 1].
            test_loss: In nats.
        """
        if self._after_first_round is None:
            self._after_first_round = time.monotonic()
        figures = f"accuracy {test_accuracy:.4f}  loss {test_loss:.4f}"
        if self._bar is not None:
            self._bar.update(
                self._task, completed=round, description=f"round {round}", figures=figures
            )
        elif self._is_due(round):
            left = f"{self._seconds_left(round):.0f} s left"
            say(f"round {round}/{self._num_rounds}  {figures}  {left}")

    def tell(self, message: str) -> None:
        """Show a line that is no matter of progress."""
        if self._bar is not None:
            self._bar.console.print(message, markup=False, highlight=False)
        else:
            say(message)

    def _is_due(self, round: int) -> bool:
        every = max(1, self._num_rounds // _PLAIN_LINES)
        now = time.monotonic()
        due = round % every == 0 or round == self._num_rounds or now - self._last_line > 30
        if due:
            self._last_line = now
        return due

    def _seconds_left(self, round: int) -> float:
        now = time.monotonic()
        num_done = round - self._last_round
        # The first round starts the workers, and says little about the others.
        if num_done > 1 and self._after_first_round is not None:
            seconds_a_round = (now - self._after_first_round) / (num_done - 1)
        else:
            seconds_a_round = now - self._start
        return seconds_a_round * (self._num_rounds - round)


def _make_bar() -> Bar:
    return Bar(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
        TimeRemainingColumn(),
    )
