"""LoRA (Hu et al. 2022, arXiv 2106.09685), and three ways to average it over clients.

The weight of an adapted layer is W + s B A: W is frozen, B [out, r] and A [r, in] are trained,
s = alpha / r. The mean of clients' weights, with p_k = a_k / sum_k a_k, is W + s sum_k p_k B_k A_k.
With the means A' = sum_k p_k A_k and B' = sum_k p_k B_k:

- naive: W + s B' A', which is another weight (FedIT, Zhang et al. 2023, arXiv 2305.05644);
- freeze_a: no client trains A, so the two are equal (FFA-LoRA, Sun et al. 2024, arXiv 2403.12313);
- exact: W + R + s B' A', where R, the residual, grows by s (sum_k p_k B_k A_k - B' A') in every
  round (FedEx-LoRA, Singhal et al. 2024, arXiv 2410.09432). The server broadcasts it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import Tensor, nn

from common.arrays import to_array, view
from common.errors import UserInputError
from common.strategy.aggregate import Aggregation, WeightedMean
from common.strategy.options import Weighting
from common.strategy.server_optimizer import ServerOptimizer
from distilbert_failures.config import LoraAggregation

# Queries and values, as in the paper (section 5.1): in DistilBERT, and in BERT and its like.
_DEFAULT_TARGETS: Final = ("q_lin", "v_lin", "query", "value")


class _ResidualLinear(nn.Linear):
    """A linear layer of weight W + R, both frozen; R, of the shape of W, starts at 0.

    They are summed before the product with the inputs, which costs less than a product for each.

    Args:
        linear: Gives W and the bias.
        scaling: s, of the adapter on top.
    """

    residual: Tensor

    def __init__(self, linear: nn.Linear, scaling: float) -> None:
        has_bias = linear.bias is not None
        # On the meta device nothing is drawn, nor allocated, for what is replaced at once.
        super().__init__(linear.in_features, linear.out_features, has_bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.scaling = scaling
        self.register_buffer("residual", torch.zeros_like(linear.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs, shape [..., out], of inputs, shape [..., in]."""
        return nn.functional.linear(input, self.weight + self.residual, self.bias)


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: str,
    aggregation: LoraAggregation,
    head: Collection[str] = (),
) -> None:
    """Put adapters on linear layers of a model, in place, and freeze all else but the head.

    The model computes what it did before: A is drawn from torch's global generator, B is 0.

    Args:
        model: With a head that is trained whole, beside the adapters, if there is one.
        rank: r, of every adapter.
        alpha: An adapter adds alpha / r times B A to its layer's weight.
        dropout: Probability that an input of an adapter is 0 in training, in [0, 1).
        target_modules: The last parts of the names of the layers, joined by plus signs, such
            as "q_lin+v_lin"; empty for the queries and values of a model like DistilBERT or BERT.
        aggregation: How the clients' adapters are to be averaged, which decides what they train,
            and whether there are residuals.
        head: Names of the model's modules that are the head.

    Raises:
        UserInputError: There are no such layers.
    """
    from peft import LoraConfig, inject_adapter_in_model  # Here, for few runs need it.
    from peft.tuners.lora import Linear

    layers = _layers_to_adapt(model, target_modules, head)
    # Its type says that alpha is whole; it is only ever divided by r.
    lora = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers)  # type: ignore[arg-type]
    inject_adapter_in_model(lora, model)
    for name in head:
        model.get_submodule(name).requires_grad_(True)
    for name in layers:
        adapted = model.get_submodule(name)
        assert isinstance(adapted, Linear)
        assert isinstance(adapted.base_layer, nn.Linear)
        if aggregation == "freeze_a":
            adapted.lora_A.requires_grad_(False)
        if aggregation == "exact":
            adapted.base_layer = _ResidualLinear(adapted.base_layer, alpha / rank)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a client sends of a model: its trained parameters, by name, in its own memory."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {key: tensor for key, tensor in model.state_dict().items() if key in trained}


def travelling_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what the server broadcasts of a model: its trained parameters, and all residuals.

    Residuals are there with aggregation "exact" only. Tensors are in the model's own memory:
    :func:`common.arrays.load_arrays` writes into them.
    """
    travels = trained_state(model).keys() | {layer.residual for layer in _exact_layers(model)}
    return {key: tensor for key, tensor in model.state_dict().items() if key in travels}


def make_aggregation(
    model: nn.Module,
    weighting: Weighting = "examples",
    server_optimizer: ServerOptimizer | None = None,
) -> Aggregation:
    """Return what becomes of the client models of a round, with adapters in them or without.

    Args:
        model: The federated model, which says what clients train and whether there are residuals.
        weighting: As for :class:`common.strategy.aggregate.Aggregation`.
        server_optimizer: Likewise; of a model with residuals there must be none.
    """
    layers = list(_exact_layers(model))
    if not layers:
        return Aggregation(list(trained_state(model)), weighting, "average", server_optimizer)
    return ExactLora(
        list(trained_state(model)),
        weighting,
        server_optimizer=server_optimizer,
        broadcast_only=[layer.residual for layer in layers],
        layers=layers,
    )


@dataclass(frozen=True)
class ExactLayer:
    """An adapted layer with a residual.

    Attributes:
        a: Key of A, shape [r, in].
        b: Key of B, shape [out, r].
        residual: Key of R, shape [out, in].
        scaling: What B A is multiplied by, s.
    """

    a: str
    b: str
    residual: str
    scaling: float


@dataclass(frozen=True)
class ExactLora(Aggregation):
    """The mean of tensors, and of adapted layers' weights, by residuals that make up for the rest.

    Attributes:
        layers: Those with residuals, which are all that is broadcast only.

    Raises:
        ValueError: There is a server optimiser: it would move A and B elsewhere, but the residuals
            are those of their means.
    """

    layers: Sequence[ExactLayer] = ()

    def __post_init__(self) -> None:
        if self.server_optimizer is not None:
            raise ValueError("a server optimiser and exact averages of LoRA exclude each other")

    def start(self, w_global: ArrayRecord) -> WeightedMean:
        """Return the mean of a round, to which no model is added yet."""
        return _ExactMean(w_global, self.averaged(w_global), self.layers)


class _ExactMean(WeightedMean):
    """The mean that also adds up a_k B_k A_k of every adapted layer, in float64."""

    def __init__(
        self, w_global: ArrayRecord, keys: Collection[str], layers: Sequence[ExactLayer]
    ) -> None:
        super().__init__(w_global, keys)
        self._products = {
            layer: np.zeros(w_global[layer.residual].shape, np.float64) for layer in layers
        }

    def add(self, w_k: ArrayRecord, weight: int) -> None:
        """Add a client's model and its weight a_k."""
        super().add(w_k, weight)
        for layer, sum_ in self._products.items():
            _add_product(sum_, view(w_k[layer.b]), view(w_k[layer.a]), float(weight))

    def result(self) -> ArrayRecord:
        """Return the mean with the residuals that go with it."""
        w_mean = super().result()
        if self._total == 0:
            return w_mean
        residuals = {
            layer.residual: to_array(self._residual(layer, sum_, w_mean))
            for layer, sum_ in self._products.items()
        }
        return ArrayRecord({key: residuals.get(key, w) for key, w in w_mean.items()})

    def _residual(
        self, layer: ExactLayer, sum_: NDArray[np.float64], w_mean: ArrayRecord
    ) -> NDArray[Any]:
        """Return R of the next round.

        A' and B' are those that clients will get, rounded: the residual makes up for that, too. It
        does not change, to the bit, where there is one client.
        """
        of_means = np.zeros_like(sum_)
        _add_product(of_means, view(w_mean[layer.b]), view(w_mean[layer.a]), float(self._total))
        residual = view(self._w_global[layer.residual])
        grown = residual + (layer.scaling / self._total) * (sum_ - of_means)
        return grown.astype(residual.dtype)


def _layers_to_adapt(model: nn.Module, target_modules: str, head: Collection[str]) -> list[str]:
    """Return the names of the linear layers outside the head that end in one of the targets."""
    linear = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and not any(f"{name}.".startswith(f"{of_head}.") for of_head in head)
    ]
    targets = [target.strip() for target in target_modules.split("+") if target_modules]
    found = {
        target: [name for name in linear if f".{name}".endswith(f".{target}")]
        for target in targets or _DEFAULT_TARGETS
    }
    unmatched = [target for target in targets if not found[target]]
    if unmatched or not any(found.values()):
        last_parts = dict.fromkeys(name.rpartition(".")[2] for name in linear)
        raise UserInputError(
            f"lora_target_modules={target_modules!r} is not allowed: it must name linear layers of "
            f"the model's encoder, which are {', '.join(last_parts) or 'none'}"
            f"{f', but not {unmatched[0]!r}' if unmatched else ''}."
        )
    chosen = {name for names in found.values() for name in names}
    return [name for name in linear if name in chosen]


def _exact_layers(model: nn.Module) -> Iterator[ExactLayer]:
    for name, module in model.named_modules():
        if isinstance(module, _ResidualLinear):
            layer = name.removesuffix("base_layer")
            yield ExactLayer(
                f"{layer}lora_A.default.weight",
                f"{layer}lora_B.default.weight",
                f"{name}.residual",
                module.scaling,
            )


@numba.njit(cache=True, nogil=True)
def _add_product(
    sum_: NDArray[np.float64], b: NDArray[Any], a: NDArray[Any], weight: float
) -> None:
    """Do ``sum_ += weight * b @ a`` in float64, in an order that no number of threads changes."""
    for i in range(b.shape[0]):
        for r in range(b.shape[1]):
            factor = weight * b[i, r]
            for j in range(a.shape[1]):
                sum_[i, j] += factor * a[r, j]
