"""The keys of this baseline; their defaults are in ../pyproject.toml."""

from typing import Literal, Self

from pydantic import model_validator

from common.experiment.config import (
    ExperimentConfig,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
)
from common.strategy.cohort import require_a_complete_client
from common.strategy.mu_schedule import require_train_loss

DatasetName = Literal["mnist", "femnist", "synthetic", "synthetic_iid"]
Normalisation = Literal["per_pixel", "global"]
PartitionScheme = Literal[
    "power_law",
    "iid",
    "shards",
    "dirichlet_over_clients",
    "dirichlet_over_labels",
    "quantity_skew",
]
Algorithm = Literal["fedprox", "fedavg"]


class FedProxConfig(ExperimentConfig):
    """Schema of ``[tool.flwr.app.config]``; the comments there say what a key means."""

    algorithm: Algorithm
    dataset: DatasetName
    normalisation: Normalisation
    model: Literal["logistic", "cnn"]
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat
    min_partition_size: NonNegativeInt
    classes_per_client: PositiveInt
    quantity_sigma: PositiveFloat
    synthetic_alpha: NonNegativeFloat
    synthetic_beta: NonNegativeFloat
    mu: NonNegativeFloat
    adaptive_mu: bool
    stragglers_fraction: Probability
    evaluate_train_loss: bool
    evaluate_dissimilarity: bool

    @model_validator(mode="after")
    def _model_fits_dataset(self) -> Self:
        if self.model == "cnn" and self.dataset not in ("mnist", "femnist"):
            raise ValueError(
                f"model='cnn' is not allowed with dataset={self.dataset!r}: it must be logistic, "
                "for the CNN takes images."
            )
        return self

    @model_validator(mode="after")
    def _precision_fits_model(self) -> Self:
        if self.model == "logistic" and self.precision != "float32":
            raise ValueError(
                f"precision={self.precision!r} is not allowed with model='logistic': it must be "
                "float32, for so small a model would gain nothing."
            )
        return self

    @model_validator(mode="after")
    def _adaptive_mu_has_its_loss(self) -> Self:
        require_train_loss(self.adaptive_mu, self.evaluate_train_loss)
        return self

    @model_validator(mode="after")
    def _stragglers_fit_algorithm(self) -> Self:
        if self.algorithm == "fedavg":
            require_a_complete_client(self.clients_per_round, self.stragglers_fraction)
        return self
