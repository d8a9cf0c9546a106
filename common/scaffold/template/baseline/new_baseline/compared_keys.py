"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called."""

from common.experiment.config import NonNegativeFloat, PositiveInt
from common.replication.compared_keys import ArmKeys, PanelKeys


class NewBaselinePanelKeys(PanelKeys):
    """The keys that tell the panels of a figure apart."""

    synthetic_alpha: NonNegativeFloat
    synthetic_beta: NonNegativeFloat

    @property
    def facts(self) -> tuple[str]:
        """The data set, in words."""
        return (f"Synthetic({self.synthetic_alpha:g}, {self.synthetic_beta:g})",)

    @property
    def name(self) -> str:
        """The data set, in words."""
        return self.facts[0]

    @property
    def order(self) -> tuple[float, float]:
        """What to sort panels by, from alike clients to different ones."""
        return (self.synthetic_beta, self.synthetic_alpha)


class NewBaselineArmKeys(ArmKeys):
    """The keys that tell the methods of a panel apart."""

    num_epochs: PositiveInt

    @property
    def name(self) -> str:
        """The method, as figures and tables call it."""
        return f"FedAvg, E = {self.num_epochs}"

    @property
    def order(self) -> tuple[int]:
        """What to sort methods by; the others are compared with the first."""
        return (self.num_epochs,)
