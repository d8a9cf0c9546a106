"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called."""

from typing import Final, Literal

from common.client.work import Precision
from common.compression.options import QuantiserName, Rounding, ScaleOf, SparsifierName
from common.experiment.config import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from common.replication.compared_keys import ArmKeys, PanelKeys
from common.strategy.options import ServerOptimizerName
from pruning_afo.config import Importance, ModelName, PartitionScheme, Pruning
from pruning_afo.figures import FEDAVG

CENTRALISED: Final = "centralised"

_SERVERS: Final[dict[ServerOptimizerName, str]] = {
    "none": FEDAVG,
    "fedavgm": "FedAvgM",
    "fedadagrad": "FedAdagrad",
    "fedadam": "FedAdam",
    "fedyogi": "FedYogi",
}
_SPARSIFIERS: Final[dict[SparsifierName, str]] = {
    "none": "",
    "threshold": "threshold",
    "top_k": "top-k",
    "global_top_k": "global top-k",
    "random_k": "random-k",
}
_QUANTISERS: Final[dict[QuantiserName, str]] = {
    "float32": "",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "sign": "sign",
}
_PRECISIONS: Final[dict[Precision, str]] = {
    "float32": "",
    "bfloat16": "bf16 training",
    "float16": "fp16 training",
}
_PRUNINGS: Final[dict[Pruning, str]] = {
    "none": "",
    "one_shot": "one-shot",
    "gradual": "gradual",
    "prunefl": "PruneFL",
    "feddst": "FedDST",
}
_IMPORTANCES: Final[dict[Importance, str]] = {"weight": "|w|", "gradient": "|g|", "taylor": "|wg|"}


class PruningPanelKeys(PanelKeys):
    """The keys that tell the panels of a figure apart."""

    model: ModelName
    width: PositiveInt
    partition: PartitionScheme
    dirichlet_alpha: PositiveFloat

    @property
    def facts(self) -> tuple[str, ...]:
        """Network and partition, in words."""
        name = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}[self.model]
        schemes = {"iid": "IID", "dirichlet_over_labels": "mixes of labels"}
        alpha = "" if self.partition == "iid" else f"α = {self.dirichlet_alpha:.12g}"
        return (
            name,
            "" if self.width == 64 else f"width {self.width}",
            schemes.get(self.partition, "classes split"),
            alpha,
        )

    @property
    def name(self) -> str:
        """Network and partition."""
        return ", ".join(fact for fact in self.facts if fact)

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort panels by."""
        return (self.model, self.width, self.partition, self.dirichlet_alpha)


class PruningArmKeys(ArmKeys):
    """The keys that tell the methods of a panel apart."""

    server_optimizer: ServerOptimizerName
    bias_correction: bool
    precision: Precision
    sparsifier: SparsifierName
    threshold: PositiveFloat
    density: PositiveFloat
    warmup_rounds: NonNegativeInt
    quantiser: QuantiserName
    int8_rounding: Rounding
    int8_scale: ScaleOf
    error_feedback: bool
    residual_momentum: NonNegativeFloat
    compress_local_gradients: bool
    pruning: Pruning
    importance: Importance
    model_density: PositiveFloat
    augmentation: Literal["none", "crop_flip"]
    learning_rate: PositiveFloat
    num_clients: PositiveInt

    @property
    def name(self) -> str:
        """The server's method, what is sent, and what else is not as usual."""
        if self.num_clients == 1:
            return CENTRALISED
        parts = (
            self._server,
            self._entries,
            self._values,
            self._feedback,
            "gradients compressed, too" if self.compress_local_gradients else "",
            self._pruned,
            _PRECISIONS[self.precision],
            self._unaugmented,
        )
        return ", ".join(part for part in parts if part)

    @property
    def order(self) -> tuple[str | float, ...]:
        """What to sort methods by, server, then from all of an update to a thousandth of it."""
        return (
            self.num_clients != 1,
            list(_SERVERS).index(self.server_optimizer),
            self.bias_correction,
            list(_PRUNINGS).index(self.pruning),
            list(_IMPORTANCES).index(self.importance),
            -self.model_density,
            list(_SPARSIFIERS).index(self.sparsifier),
            -self.density,
            list(_QUANTISERS).index(self.quantiser),
            self.name,
        )

    @property
    def is_reference(self) -> bool:
        """Whether it is an anchor."""
        return self.num_clients == 1

    @property
    def _server(self) -> str:
        corrected = " with bias correction" if self.bias_correction else ""
        return f"{_SERVERS[self.server_optimizer]}{corrected}"

    @property
    def _entries(self) -> str:
        """Which entries of an update are sent; empty for all."""
        name = _SPARSIFIERS[self.sparsifier]
        if self.sparsifier == "none":
            return ""
        if self.sparsifier == "threshold":
            return f"{name} {self.threshold:.12g}"
        warmup = " after warm-up" if self.warmup_rounds else ""
        return f"{name} {100 * self.density:.12g} %{warmup}"

    @property
    def _values(self) -> str:
        """How the values of an update are sent; empty for float32."""
        name = _QUANTISERS[self.quantiser]
        if self.quantiser != "int8":
            return name
        rounding = " stochastic" if self.int8_rounding == "stochastic" else ""
        return f"{name}{rounding}{' per row' if self.int8_scale == 'per_row' else ''}"

    @property
    def _feedback(self) -> str:
        if not self.error_feedback:
            return ""
        return f"EF, m = {self.residual_momentum:.12g}" if self.residual_momentum else "EF"

    @property
    def _unaugmented(self) -> str:
        """What the document changed together; empty where it did not."""
        rate = f"η_l = {self.learning_rate:.12g}"
        return f"no augmentation, {rate}" if self.augmentation == "none" else ""

    @property
    def _pruned(self) -> str:
        """How the model is pruned; empty where it is not."""
        if self.pruning == "none":
            return ""
        by_server = self.pruning in ("one_shot", "gradual")
        importance = f" {_IMPORTANCES[self.importance]}" if by_server else ""
        share = "" if self.pruning == "prunefl" else f" to {100 * self.model_density:.12g} %"
        return f"{_PRUNINGS[self.pruning]}{importance}{share}"
