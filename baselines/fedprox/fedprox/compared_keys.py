"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called."""

from common.experiment.config import NonNegativeFloat, Probability
from common.replication.compared_keys import ArmKeys, PanelKeys
from fedprox.config import Algorithm, DatasetName, Normalisation, PartitionScheme

_DATASETS = {"mnist": "MNIST", "femnist": "FEMNIST", "synthetic_iid": "Synthetic-IID"}
_PARTITIONS = {"power_law": "power law", "iid": "IID", "shards": "2 shards a client"}


class FedProxPanelKeys(PanelKeys):
    """The keys that tell the panels of a figure apart."""

    dataset: DatasetName
    synthetic_alpha: NonNegativeFloat
    synthetic_beta: NonNegativeFloat
    partition: PartitionScheme
    normalisation: Normalisation
    stragglers_fraction: Probability

    @property
    def facts(self) -> tuple[str, str, str, str]:
        """Data set, stragglers, partition and normalisation, in words."""
        name = f"Synthetic({self.synthetic_alpha:g}, {self.synthetic_beta:g})"
        return (
            _DATASETS.get(self.dataset, name),
            f"{100 * self.stragglers_fraction:.12g} % stragglers",
            _PARTITIONS.get(self.partition, self.partition),
            f"normalisation={self.normalisation}",
        )

    @property
    def name(self) -> str:
        """Data set and stragglers, in words."""
        return ", ".join(self.facts[:2])

    @property
    def order(self) -> tuple[str, float, float, str, str, float]:
        """What to sort panels by, from IID to heterogeneous, from few stragglers to many."""
        spread = (self.synthetic_beta, self.synthetic_alpha)
        if self.dataset != "synthetic":
            spread = (-1.0, -1.0)
        family = self.dataset.removesuffix("_iid")
        setting = (self.partition, self.normalisation, self.stragglers_fraction)
        return (family, *spread, *setting)


class FedProxArmKeys(ArmKeys):
    """The keys that tell the methods of a panel apart."""

    algorithm: Algorithm
    mu: NonNegativeFloat
    adaptive_mu: bool

    @property
    def name(self) -> str:
        """The method, named as in the paper."""
        if self.algorithm == "fedavg":
            return "FedAvg, stragglers dropped"
        if self.adaptive_mu:
            return f"FedProx, adaptive μ from {self.mu:.12g}"
        return f"FedProx, μ = {self.mu:.12g}"

    @property
    def order(self) -> tuple[str, bool, float]:
        """What to sort methods by, FedAvg, then fixed mu, then adaptive mu."""
        return (self.algorithm, self.adaptive_mu, self.mu)
