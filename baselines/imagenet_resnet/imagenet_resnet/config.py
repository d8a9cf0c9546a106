"""The keys of this baseline; their defaults are in ../pyproject.toml."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.experiment.config import (
    ExperimentConfig,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
)
from common.strategy.mu_schedule import (
    MuScheduleShape,
    require_one_rule_for_mu,
    require_train_loss,
)
from common.strategy.options import Buffers, ServerOptimizerName, Weighting

Algorithm = Literal["fedprox", "fedavg"]
DatasetName = Literal["imagenet_val", "imagenet", "imagenette", "tiny_imagenet", "cifar10"]
PartitionScheme = Literal["dirichlet_over_clients", "dirichlet_over_labels", "iid"]
ModelName = Literal["resnet18", "resnet50"]
Trainable = Literal["all", "layer4", "head"]
Norm = Literal["batch", "group", "frozen_batch"]
Decay = Annotated[float, Field(ge=0, lt=1)]
# Below, nothing is left of an image before layer4; above, a batch no longer fits anywhere.
ImageSize = Annotated[int, Field(ge=32, le=1024)]

# Whose classes are among ImageNet's thousand.
_OF_IMAGENET: Final = ("imagenet_val", "imagenet", "imagenette")


class ImageNetConfig(ExperimentConfig):
    """Schema of ``[tool.flwr.app.config]``; the comments there say what a key means."""

    algorithm: Algorithm
    dataset: DatasetName
    image_size: ImageSize
    on_corrupt_image: Literal["end", "skip"]
    augmentation: Literal["none", "crop_flip"]
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat
    min_partition_size: NonNegativeInt
    model: ModelName
    num_stages: Literal[3, 4]
    weights: Annotated[str, Field(min_length=1)]
    head: Literal["fresh", "keep"]
    norm: Norm
    trainable: Trainable
    num_epochs: NonNegativeInt
    momentum: Decay
    mu: NonNegativeFloat
    mu_schedule: MuScheduleShape
    mu_final: NonNegativeFloat
    adaptive_mu: bool
    weighting: Weighting
    buffers: Buffers
    server_optimizer: ServerOptimizerName
    server_learning_rate: PositiveFloat
    beta_1: Decay
    beta_2: Decay
    tau: PositiveFloat
    evaluate_train_loss: bool
    evaluate_clients: bool
    measure_drift: bool

    @model_validator(mode="after")
    def _weights_suffice(self) -> Self:
        for key, value in (
            ("head", "keep"),
            ("norm", "frozen_batch"),
            ("buffers", "keep"),
            ("trainable", "layer4"),
            ("trainable", "head"),
        ):
            if self.weights == "none" and getattr(self, key) == value:
                raise ValueError(
                    f"weights='none' is not allowed with {key}={value!r}: it must be a name of "
                    "torchvision's or a file, for something of the weights is kept."
                )
        return self

    @model_validator(mode="after")
    def _head_fits_classes(self) -> Self:
        if self.head == "keep" and (self.dataset not in _OF_IMAGENET or self.num_stages < 4):
            raise ValueError(
                f"head='keep' is not allowed with dataset={self.dataset!r} and num_stages="
                f"{self.num_stages}: it must be fresh, for the weights' head tells ImageNet's "
                "classes from the output of layer4."
            )
        return self

    @model_validator(mode="after")
    def _stages_can_be_trained(self) -> Self:
        if self.trainable == "layer4" and self.num_stages < 4:
            raise ValueError(
                "trainable='layer4' is not allowed with num_stages=3: it must be all or head, for "
                "there is no layer4."
            )
        return self

    @model_validator(mode="after")
    def _frozen_layers_run_once(self) -> Self:
        if self.trainable != "all" and self.augmentation != "none":
            raise ValueError(
                f"augmentation={self.augmentation!r} is not allowed with trainable="
                f"{self.trainable!r}: it must be none, for the frozen layers see each image once."
            )
        return self

    @model_validator(mode="after")
    def _mu_follows_one_rule(self) -> Self:
        require_one_rule_for_mu(self.mu_schedule, self.adaptive_mu)
        return self

    @model_validator(mode="after")
    def _adaptive_mu_has_its_loss(self) -> Self:
        require_train_loss(self.adaptive_mu, self.evaluate_train_loss)
        return self
