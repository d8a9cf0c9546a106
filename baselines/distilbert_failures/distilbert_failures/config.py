"""The keys of this baseline; their defaults are in ../pyproject.toml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.client.work import LocalOptimizer, ProximalTerm
from common.experiment.config import (
    ExperimentConfig,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
)
from common.strategy.options import ServerOptimizerName, Weighting
from distilbert_failures.failure_detector import FailureThresholds

Algorithm = Literal["fedprox", "fedavg", "scaffold"]
PartitionScheme = Literal[
    "dirichlet_over_clients", "dirichlet_over_labels", "iid", "style_skew", "token_skew"
]
Style = Literal["length", "formality", "complexity"]
TokenStatistic = Literal["frequency", "truncation", "vocabulary"]
Trainable = Literal["last_2", "all", "head", "lora"]
LoraAggregation = Literal["exact", "freeze_a", "naive"]
Decay = Annotated[float, Field(ge=0, lt=1)]
# -1 stands for the run's seed; see Seed of common.experiment.config for the upper end.
OwnSeed = Annotated[int, Field(ge=-1, lt=2**32)]


class DistilBertConfig(ExperimentConfig):
    """Schema of ``[tool.flwr.app.config]``; the comments there say what a key means."""

    algorithm: Algorithm
    dataset: Literal["ag_news"]
    num_train_texts: NonNegativeInt
    num_test_texts: NonNegativeInt
    # A text is at least its beginning and its end.
    max_length: Annotated[int, Field(ge=2)]
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat
    min_partition_share: Probability
    style: Style
    token_statistic: TokenStatistic
    encoder: Annotated[str, Field(min_length=1)]
    trainable: Trainable
    cache_frozen_layers: bool
    lora_rank: PositiveInt
    lora_alpha: PositiveFloat
    lora_dropout: Decay
    lora_target_modules: str
    lora_aggregation: LoraAggregation
    num_epochs: NonNegativeInt
    optimizer: LocalOptimizer
    weight_decay: NonNegativeFloat
    momentum: Decay
    mu: NonNegativeFloat
    proximal_term: ProximalTerm
    weighting: Weighting
    server_optimizer: ServerOptimizerName
    server_learning_rate: PositiveFloat
    beta_1: Decay
    beta_2: Decay
    tau: PositiveFloat
    evaluate_train_loss: bool
    evaluate_clients: bool
    measure_divergence: bool
    failure: FailureThresholds
    partition_seed: OwnSeed
    model_seed: OwnSeed
    sampling_seed: OwnSeed

    @property
    def seed_of_partition(self) -> int:
        """What the clients' texts are drawn with."""
        return self.seed if self.partition_seed < 0 else self.partition_seed

    @property
    def seed_of_model(self) -> int:
        """What the head, and LoRA's adapters, are initialised with."""
        return self.seed if self.model_seed < 0 else self.model_seed

    @property
    def seed_of_sampling(self) -> int:
        """What cohorts, the order of a client's texts and dropout are drawn with."""
        return self.seed if self.sampling_seed < 0 else self.sampling_seed

    @model_validator(mode="after")
    def _scaffold_has_sgd(self) -> Self:
        if self.algorithm == "scaffold" and self.optimizer != "sgd":
            raise ValueError(
                f"optimizer={self.optimizer!r} is not allowed with algorithm='scaffold': it must "
                "be sgd, for SCAFFOLD corrects gradients, which AdamW would rescale."
            )
        return self

    @model_validator(mode="after")
    def _sgd_has_the_term_in_its_loss(self) -> Self:
        if self.optimizer == "sgd" and self.proximal_term != "in_loss":
            raise ValueError(
                f"proximal_term={self.proximal_term!r} is not allowed with optimizer='sgd': it "
                "must be in_loss, for there is nothing to decouple it from."
            )
        return self

    @model_validator(mode="after")
    def _exact_lora_has_the_mean(self) -> Self:
        if (self.trainable, self.lora_aggregation) == ("lora", "exact") and (
            self.server_optimizer != "none"
        ):
            raise ValueError(
                f"server_optimizer={self.server_optimizer!r} is not allowed with trainable='lora' "
                "and lora_aggregation='exact': it must be none, for the residuals are those of the "
                "mean."
            )
        return self

    @model_validator(mode="after")
    def _scaffold_has_the_whole_weights(self) -> Self:
        if self.algorithm == "scaffold" and (self.trainable, self.lora_aggregation) == (
            "lora",
            "exact",
        ):
            raise ValueError(
                "lora_aggregation='exact' is not allowed with algorithm='scaffold': it must be "
                "freeze_a or naive, for control variates know nothing of the residuals."
            )
        return self

    @model_validator(mode="after")
    def _scaffold_has_no_momentum(self) -> Self:
        if self.algorithm == "scaffold" and self.momentum != 0:
            raise ValueError(
                f"momentum={self.momentum} is not allowed with algorithm='scaffold': it must be 0, "
                "for its control variates are the mean of a client's steps over eta."
            )
        return self
