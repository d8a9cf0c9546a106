"""After which rounds a model is pruned, and how far."""

from dataclasses import dataclass

from common.errors import UserInputError


@dataclass(frozen=True)
class PruningRounds:
    """The rounds after which the mask may change; 0 is before the first round.

    Attributes:
        start: The first of them, >= 0.
        end: The last of them, >= start.
        every: Rounds from one to the next, >= 1.

    Raises:
        UserInputError: It ends before it starts.
    """

    start: int
    end: int
    every: int

    def __post_init__(self) -> None:
        """Refuse an end before the start."""
        if self.end < self.start:
            raise UserInputError(
                f"pruning_end={self.end} is not allowed: it must be at least pruning_start, "
                f"{self.start}."
            )

    def is_due(self, round: int) -> bool:
        """Tell whether the mask may change after a round: every few of them, and at the end."""
        if not self.start <= round <= self.end:
            return False
        return (round - self.start) % self.every == 0 or round == self.end

    def progress(self, round: int) -> float:
        """Return how much of the way from start to end is done after a round, in [0, 1]."""
        if self.end == self.start:
            return float(round >= self.end)
        return min(max((round - self.start) / (self.end - self.start), 0.0), 1.0)


def cubic_density(progress: float, density: float) -> float:
    """Return what is kept on the way from a dense model to ``density``.

    The sparsity is s_f (1 - (1 - progress)^3) (Zhu & Gupta 2017, arXiv 1710.01878, equation 1, with
    an initial sparsity of 0): much is pruned early, while there is much to choose from.

    Args:
        progress: How much of the way is done, in [0, 1].
        density: What is kept in the end, 1 - s_f.
    """
    return 1 - (1 - density) * (1 - (1 - progress) ** 3)
