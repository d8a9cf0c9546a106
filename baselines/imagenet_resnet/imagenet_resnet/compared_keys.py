"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called."""

from typing import Final, Literal

from common.experiment.config import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from common.replication.compared_keys import ArmKeys, PanelKeys
from common.strategy.mu_schedule import MuScheduleShape
from common.strategy.options import Buffers, ServerOptimizerName, Weighting
from imagenet_resnet.config import (
    Algorithm,
    DatasetName,
    Norm,
    PartitionScheme,
    Trainable,
)
from imagenet_resnet.figures import FEDAVG

_DATASETS = {
    "imagenet_val": "ImageNet, validation images",
    "imagenet": "ImageNet",
    "imagenette": "Imagenette",
    "tiny_imagenet": "Tiny ImageNet",
    "cifar10": "CIFAR-10",
}
_SERVER_OPTIMIZERS = {
    "fedavgm": "FedAvgM",
    "fedadagrad": "FedAdagrad",
    "fedadam": "FedAdam",
    "fedyogi": "FedYogi",
}


# Names of anchors.
ZERO_SHOT: Final = "zero-shot"
LOCAL_ONLY: Final = "local only, averaged once"
PROBE: Final = "linear probe"
PROBE_LAYER3: Final = "linear probe on layer3"
CENTRALISED: Final = "centralised"


class ImageNetPanelKeys(PanelKeys):
    """The keys that tell the panels of a figure apart."""

    dataset: DatasetName
    image_size: PositiveInt
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat

    @property
    def facts(self) -> tuple[str, ...]:
        """Data set, size of images and partition, in words."""
        alpha = "" if self.partition == "iid" else f"α = {self.dirichlet_alpha:.12g}"
        schemes = {"iid": "IID", "dirichlet_over_labels": "mixes of labels"}
        return (
            _DATASETS[self.dataset],
            f"{self.image_size} pixels",
            schemes.get(self.partition, "classes split"),
            alpha,
        )

    @property
    def name(self) -> str:
        """Data set and partition."""
        dataset, _, scheme, alpha = self.facts
        return f"{dataset}, {alpha or scheme}"

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort panels by, from heterogeneous to IID."""
        return (self.dataset, self.image_size, self.partition, self.dirichlet_alpha)


class ImageNetArmKeys(ArmKeys):
    """The keys that tell the methods of a panel apart, anchors among them."""

    algorithm: Algorithm
    mu: NonNegativeFloat
    mu_schedule: MuScheduleShape
    mu_final: NonNegativeFloat
    adaptive_mu: bool
    weighting: Weighting
    buffers: Buffers
    server_optimizer: ServerOptimizerName
    head: Literal["fresh", "keep"]
    norm: Norm
    num_stages: Literal[3, 4]
    trainable: Trainable
    num_clients: PositiveInt
    num_rounds: PositiveInt
    num_epochs: NonNegativeInt
    evaluate_clients: bool

    @property
    def name(self) -> str:
        """The method, or the anchor."""
        return self._anchor or ", ".join([self._algorithm, *self._options])

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort methods by, anchors, FedAvg, fixed mu, schedules, adaptive mu."""
        anchors = [ZERO_SHOT, LOCAL_ONLY, PROBE_LAYER3, PROBE, CENTRALISED, ""]
        schedules = ["constant", "linear", "cosine"]
        return (
            anchors.index(self._anchor),
            self.algorithm,
            self.adaptive_mu,
            schedules.index(self.mu_schedule),
            self.mu,
            *self._options,
        )

    @property
    def is_reference(self) -> bool:
        """Whether it is an anchor."""
        return bool(self._anchor)

    @property
    def _anchor(self) -> str:
        """Which anchor it is; empty for a method, and for what only looks like an anchor."""
        if self.algorithm != "fedavg" or self._options:
            return ""
        if self.num_epochs == 0 and self.head == "keep":
            return ZERO_SHOT
        if self.num_clients == 1:
            probe = PROBE if self.num_stages == 4 else PROBE_LAYER3
            return probe if self.trainable == "head" else CENTRALISED
        return LOCAL_ONLY if self.evaluate_clients and self.num_rounds == 1 else ""

    @property
    def _algorithm(self) -> str:
        if self.algorithm == "fedavg":
            return FEDAVG
        if self.adaptive_mu:
            return f"FedProx, adaptive μ from {self.mu:.12g}"
        if self.mu_schedule != "constant":
            return f"FedProx, μ = {self.mu:.12g} to {self.mu_final:.12g}, {self.mu_schedule}"
        return f"FedProx, μ = {self.mu:.12g}"

    @property
    def _options(self) -> list[str]:
        """What is not as in the earlier benchmark."""
        options = []
        if self.weighting == "examples":
            options.append("weighted by n_k")
        if self.server_optimizer != "none":
            options.append(_SERVER_OPTIMIZERS[self.server_optimizer])
        if self.norm != "batch":
            options.append({"group": "GroupNorm", "frozen_batch": "frozen BatchNorm"}[self.norm])
        if self.buffers == "keep":
            options.append("initial BatchNorm statistics")
        return options
