"""The share of entries that is sent, as a function of the round."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DensitySchedule:
    """density_t = density ** (t / (warmup_rounds + 1)) up to round t = warmup_rounds, then density.

    The exponential warm-up of Lin et al. 2018 (arXiv 1712.01887, section 3.3), in rounds: with
    density .001 and 4 warm-up rounds it is 25 %, 6.3 %, 1.6 %, .40 % and from then on .1 %.

    Attributes:
        density: After the warm-up, in (0, 1].
        warmup_rounds: >= 0; 0 for a constant density.
    """

    density: float
    warmup_rounds: int = 0

    def at(self, round: int) -> float:
        """Return the density of a round, from 1."""
        if round > self.warmup_rounds:
            return self.density
        return math.pow(self.density, round / (self.warmup_rounds + 1))
