"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called."""

from typing import Final

from common.client.work import LocalOptimizer, ProximalTerm
from common.experiment.config import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from common.replication.compared_keys import ArmKeys, PanelKeys
from common.strategy.options import ServerOptimizerName, Weighting
from distilbert_failures.config import (
    Algorithm,
    LoraAggregation,
    PartitionScheme,
    Style,
    TokenStatistic,
    Trainable,
)
from distilbert_failures.figures import FEDAVG

_SERVER_OPTIMIZERS: Final = {
    "fedavgm": "FedAvgM",
    "fedadagrad": "FedAdagrad",
    "fedadam": "FedAdam",
    "fedyogi": "FedYogi",
}
_TRAINABLE: Final = {"last_2": "", "all": "all layers", "head": "head alone"}
_LORA: Final = {"exact": "LoRA, exact", "freeze_a": "LoRA, A frozen", "naive": "LoRA, naive"}


class DistilBertPanelKeys(PanelKeys):
    """The keys that tell the panels of a figure apart: the conditions that may be failure modes."""

    encoder: str
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat
    style: Style
    token_statistic: TokenStatistic
    learning_rate: PositiveFloat
    num_clients: PositiveInt
    num_epochs: NonNegativeInt

    @property
    def facts(self) -> tuple[str, ...]:
        """Encoder, partition and what else makes federated training fail, in words."""
        return (
            self.encoder,
            self._partition,
            f"η = {self.learning_rate:.12g}",
            f"K = {self.num_clients}",
            f"E = {self.num_epochs}",
        )

    @property
    def _partition(self) -> str:
        alpha = f"α = {self.dirichlet_alpha:.12g}"
        return {
            "iid": "IID",
            "dirichlet_over_clients": alpha,
            "dirichlet_over_labels": f"mixes of labels, {alpha}",
            "style_skew": f"sorted by {self.style}",
            "token_skew": f"sorted by {self.token_statistic}",
        }[self.partition]

    @property
    def name(self) -> str:
        """Encoder and partition."""
        return f"{self.encoder}, {self._partition}"

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort panels by, from IID to extreme skew, then the learning rate, K and E."""
        schemes = ["iid", "dirichlet_over_clients", "dirichlet_over_labels"]
        rank = schemes.index(self.partition) if self.partition in schemes else len(schemes)
        return (
            *(self.encoder, self.learning_rate, self.num_clients, self.num_epochs, rank),
            *(-self.dirichlet_alpha, self.partition, self.style, self.token_statistic),
        )


class DistilBertArmKeys(ArmKeys):
    """The keys that tell the methods of a panel apart."""

    algorithm: Algorithm
    mu: NonNegativeFloat
    proximal_term: ProximalTerm
    optimizer: LocalOptimizer
    trainable: Trainable
    lora_aggregation: LoraAggregation
    weighting: Weighting
    server_optimizer: ServerOptimizerName

    @property
    def name(self) -> str:
        """The method."""
        return ", ".join([self._algorithm, *self._options])

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort methods by, FedAvg, FedProx from small to large mu, SCAFFOLD."""
        algorithms = ["fedavg", "fedprox", "scaffold"]
        return (algorithms.index(self.algorithm), self.mu, self.proximal_term, *self._options)

    @property
    def _algorithm(self) -> str:
        if self.algorithm == "fedavg":
            return FEDAVG
        if self.algorithm == "scaffold":
            return "SCAFFOLD"
        decoupled = ", decoupled" if self.proximal_term == "decoupled" else ""
        return f"FedProx, μ = {self.mu:.12g}{decoupled}"

    @property
    def _options(self) -> list[str]:
        """What is not as in the earlier study."""
        trained = _LORA[self.lora_aggregation] if self.trainable == "lora" else ""
        options = [
            trained or _TRAINABLE.get(self.trainable, ""),
            "SGD" if self.optimizer == "sgd" and self.algorithm != "scaffold" else "",
            "uniform weights" if self.weighting == "uniform" else "",
            _SERVER_OPTIMIZERS.get(self.server_optimizer, ""),
        ]
        return [option for option in options if option]
