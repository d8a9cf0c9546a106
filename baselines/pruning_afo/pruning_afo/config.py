"""The keys of this baseline; their defaults are in ../pyproject.toml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.compression.options import QuantiserName, Rounding, ScaleOf, SparsifierName
from common.experiment.config import (
    ExperimentConfig,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from common.strategy.options import ServerOptimizerName, Weighting
from pruning_afo.learning_rate import parse_steps

PartitionScheme = Literal["iid", "dirichlet_over_labels", "dirichlet_over_clients"]
ModelName = Literal["resnet18", "resnet50"]
Stem = Literal["imagenet", "cifar"]
Norm = Literal["batch", "group"]
Pruning = Literal["none", "one_shot", "gradual", "prunefl", "feddst"]
Importance = Literal["weight", "gradient", "taylor"]
Density = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class PruningConfig(ExperimentConfig):
    """Schema of ``[tool.flwr.app.config]``; the comments there say what a key means."""

    dataset: Literal["cifar10"]
    augmentation: Literal["none", "crop_flip"]
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat
    min_partition_size: NonNegativeInt
    model: ModelName
    width: PositiveInt
    stem: Stem
    norm: Norm
    batches_per_epoch: NonNegativeInt
    learning_rate_steps: str
    momentum: Decay
    weight_decay: NonNegativeFloat
    sparsifier: SparsifierName
    threshold: PositiveFloat
    density: Density
    warmup_rounds: NonNegativeInt
    quantiser: QuantiserName
    int8_rounding: Rounding
    int8_scale: ScaleOf
    error_feedback: bool
    residual_momentum: Decay
    factor_masking: bool
    clip_norm: Annotated[float, Field(gt=0)]
    compress_local_gradients: bool
    pruning: Pruning
    importance: Importance
    model_density: Density
    pruning_start: NonNegativeInt
    pruning_end: PositiveInt
    pruning_every: PositiveInt
    server_optimizer: ServerOptimizerName
    server_learning_rate: PositiveFloat
    beta_1: Decay
    beta_2: Decay
    tau: PositiveFloat
    bias_correction: bool
    weighting: Weighting
    measure_drift: bool

    @property
    def compresses(self) -> bool:
        """Whether clients send an encoded update in the place of their model."""
        return self.error_feedback or self._leaves_out

    @property
    def _leaves_out(self) -> bool:
        """Whether an encoded update is less than all of it in float32."""
        return self.sparsifier != "none" or self.quantiser != "float32"

    @model_validator(mode="after")
    def _steps_are_rising_shares(self) -> Self:
        parse_steps(self.learning_rate_steps)
        return self

    @model_validator(mode="after")
    def _residuals_are_kept(self) -> Self:
        for key, off in (("residual_momentum", 0.0), ("clip_norm", float("inf"))):
            value = getattr(self, key)
            if value != off and not self.error_feedback:
                raise ValueError(
                    f"{key}={value} is not allowed with error_feedback=False: it must be {off}, "
                    "for it acts on what error feedback keeps."
                )
        return self

    @model_validator(mode="after")
    def _warmup_has_a_density(self) -> Self:
        if self.warmup_rounds and self.sparsifier in ("none", "threshold"):
            raise ValueError(
                f"warmup_rounds={self.warmup_rounds} is not allowed with sparsifier="
                f"{self.sparsifier!r}: it must be 0, for there is no density to warm up."
            )
        if self.warmup_rounds >= self.num_rounds:
            raise ValueError(
                f"warmup_rounds={self.warmup_rounds} is not allowed: it must be less than "
                f"num_rounds, {self.num_rounds}."
            )
        return self

    @model_validator(mode="after")
    def _int8_has_its_quantiser(self) -> Self:
        for key, usual in (("int8_rounding", "nearest"), ("int8_scale", "per_tensor")):
            value = getattr(self, key)
            if value != usual and self.quantiser != "int8":
                raise ValueError(
                    f"{key}={value!r} is not allowed with quantiser={self.quantiser!r}: it must be "
                    f"{usual!r}, for nothing has 8 bits."
                )
        return self

    @model_validator(mode="after")
    def _local_gradients_have_a_compression(self) -> Self:
        if self.compress_local_gradients and not self._leaves_out:
            raise ValueError(
                "compress_local_gradients=True is not allowed with sparsifier='none' and "
                "quantiser='float32': one of them must be another."
            )
        return self

    @model_validator(mode="after")
    def _pruning_sends_what_is_kept(self) -> Self:
        """What a pruned model sends is agreed by its mask; a second choice would be of another."""
        if self.pruning == "none":
            return self
        for key, off in (
            ("sparsifier", "none"),
            ("error_feedback", False),
            ("compress_local_gradients", False),
            ("int8_scale", "per_tensor"),
        ):
            value = getattr(self, key)
            if value != off:
                raise ValueError(
                    f"{key}={value!r} is not allowed with pruning={self.pruning!r}: it must be "
                    f"{off!r}, for the mask says what is sent, in one row."
                )
        return self

    @model_validator(mode="after")
    def _pruning_ends_within_the_run(self) -> Self:
        if self.pruning == "none":
            return self
        if self.pruning_start >= self.num_rounds:
            raise ValueError(
                f"pruning_start={self.pruning_start} is not allowed with pruning={self.pruning!r}: "
                f"it must be less than num_rounds, {self.num_rounds}."
            )
        if self.pruning == "one_shot" or self.pruning_start <= self.pruning_end <= self.num_rounds:
            return self
        raise ValueError(
            f"pruning_end={self.pruning_end} is not allowed with pruning={self.pruning!r}: it must "
            f"be from pruning_start, {self.pruning_start}, to num_rounds, {self.num_rounds}."
        )

    @model_validator(mode="after")
    def _pruning_has_its_gradient(self) -> Self:
        by_gradient = self.pruning in ("one_shot", "gradual") and self.importance != "weight"
        if self.pruning_start == 0 and by_gradient:
            raise ValueError(
                f"pruning_start=0 is not allowed with importance={self.importance!r}: it must be "
                "at least 1, for there is no gradient before the first round."
            )
        return self

    @model_validator(mode="after")
    def _server_learning_rate_has_its_optimizer(self) -> Self:
        if self.server_learning_rate != 1 and self.server_optimizer == "none":
            raise ValueError(
                f"server_learning_rate={self.server_learning_rate} is not allowed with "
                "server_optimizer='none': it must be 1, for the mean is the next model."
            )
        return self

    @model_validator(mode="after")
    def _bias_correction_has_moments(self) -> Self:
        if self.bias_correction and self.server_optimizer not in ("fedadam", "fedyogi"):
            raise ValueError(
                f"bias_correction=True is not allowed with server_optimizer="
                f"{self.server_optimizer!r}: that must be fedadam or fedyogi, whose moments decay."
            )
        return self
