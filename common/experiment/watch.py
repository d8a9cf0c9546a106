"""Failures that show while a run goes on: what looks for them, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Failure:
    """A sign in a round that training fails.

    Attributes:
        mode: What kind of failure it is, a short code.
        reason: What shows it, a sentence.
    """

    mode: str
    reason: str


class Watcher(Protocol):
    """Looks for failures.

    What it finds depends on the records that it has seen and on nothing else: a run that goes on
    shows a new one the lines that are there.
    """

    @property
    def stops(self) -> bool:
        """Whether a run is to end with the first round that shows a failure."""

    def observe(self, record: Mapping[str, Any]) -> list[Failure]:
        """Take a round's record, as rounds.jsonl has it; return what shows in this round.

        Args:
            record: Of the round after the one last observed. None is a number that was not finite
                or not asked for.
        """


class Watch:
    """What a watcher found in the rounds of a run.

    Attributes:
        stops: Whether a round that shows a failure is to be the last.
        stopped: Why the round last taken is to be the last; empty if it is not.
        modes: By the mode of a failure, the first round that shows it and the number of them.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.stops = watcher.stops
        self.stopped = ""
        self._watcher = watcher
        self.modes: dict[str, dict[str, int]] = {}

    def take(self, record: Mapping[str, Any]) -> tuple[list[str], list[Failure]]:
        """Take the record of the next round.

        Returns:
            The modes of all failures that show in it, and those failures whose mode is new.
        """
        failures = self._watcher.observe(record)
        new = [failure for failure in failures if failure.mode not in self.modes]
        for failure in failures:
            first = {"first_round": record["round"], "rounds": 0}
            self.modes.setdefault(failure.mode, first)["rounds"] += 1
        if self.stops:
            self.stopped = " ".join(failure.reason for failure in failures)
        return [failure.mode for failure in failures], new
