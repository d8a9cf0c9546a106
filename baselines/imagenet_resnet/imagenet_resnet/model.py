"""ResNets (He et al. 2016, arXiv 1512.03385), cut into a frozen trunk and the layers to train."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torchvision.models import ResNet, get_model
from torchvision.ops import FrozenBatchNorm2d

from common.data.imagenette import IMAGENET_CLASSES
from common.errors import UserInputError
from common.randomness import Purpose, torch_seeded
from imagenet_resnet.config import ImageNetConfig, Norm
from imagenet_resnet.weights import fill, load_weights

# Wu & He 2018 (arXiv 1803.08494), section 4: 32 groups.
_GROUPS = 32


@dataclass(frozen=True)
class SplitResNet:
    """A network in two parts, one behind the other; tensors have torchvision's names.

    Attributes:
        trunk: The frozen layers, in evaluation mode; without any it is empty.
        tail: The layers that clients train, and that travel: the federated model.
        fresh: Names of tensors that were to come from the weights, but begin afresh.
    """

    trunk: nn.Sequential
    tail: nn.Sequential
    fresh: list[str]


def make_tail(config: ImageNetConfig, num_classes: int) -> nn.Sequential:
    """Return the layers that clients train, with any weights, to be overwritten."""
    return _split(get_model(config.model), config, nn.Linear(_width(config), num_classes))[1]


def make_model(config: ImageNetConfig, num_classes: int) -> SplitResNet:
    """Build the configured network with its initial weights, a function of seed and ``weights``.

    Args:
        config: The run's configuration.
        num_classes: Number of labels.

    Raises:
        UserInputError: The weights cannot be had, are of another network, or lack tensors of
            layers that stay frozen, or of the head that is to be kept.
    """
    with torch_seeded(config.seed, Purpose.INITIAL_WEIGHTS):
        network = get_model(config.model)
        head = nn.Linear(_width(config), num_classes)
    if config.weights == "none":
        trunk, tail = _split(network, config, head)
        return SplitResNet(trunk, tail, [])
    state = load_weights(config.weights, config.model)
    missing = fill(network, state, config.weights, ignored="fc." if config.head == "fresh" else "")
    if config.head == "keep":
        _require_head(missing, config)
        _keep_rows(network.fc, head, config)
    trunk, tail = _split(network, config, head)
    _require_trunk(trunk, missing, config)
    own = tail.state_dict()
    return SplitResNet(trunk, tail, [key for key in missing if key in own])


def trunk_output_shape(config: ImageNetConfig) -> tuple[int, ...]:
    """Return the shape of what the frozen layers make of an image."""
    with torch.device("meta"):
        trunk, _ = _split(get_model(config.model), config, nn.Linear(1, 1))
        image = torch.empty(1, 3, config.image_size, config.image_size)
        return tuple(trunk(image).shape[1:])


def _width(config: ImageNetConfig) -> int:
    """Return the channels that the head sees: those of the last stage."""
    of_last_stage = {3: 256, 4: 512}[config.num_stages]
    return of_last_stage * {"resnet18": 1, "resnet50": 4}[config.model]


def _split(
    network: ResNet, config: ImageNetConfig, head: nn.Linear
) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut a network where the layers to train begin; its children are in forward order."""
    layers = OrderedDict(network.named_children())
    if config.num_stages < 4:
        del layers["layer4"]
    del layers["fc"]
    layers["flatten"] = nn.Flatten()
    layers["fc"] = head
    first = {"all": "conv1", "layer4": "layer4", "head": "fc"}[config.trainable]
    cut = list(layers).index(first)
    named = list(layers.items())
    trunk, tail = nn.Sequential(OrderedDict(named[:cut])), nn.Sequential(OrderedDict(named[cut:]))
    _replace_norm(tail, config.norm)
    return trunk.eval().requires_grad_(False), tail


def _replace_norm(module: nn.Module, norm: Norm) -> None:
    """Put another normalisation in the place of every BatchNorm, with its scales and shifts."""
    if norm == "batch":
        return
    make = FrozenBatchNorm2d if norm == "frozen_batch" else partial(nn.GroupNorm, _GROUPS)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            other = make(child.num_features)
            other.load_state_dict(
                {key: w for key, w in child.state_dict().items() if key in other.state_dict()}
            )
            setattr(module, name, other)
        else:
            _replace_norm(child, norm)


def _keep_rows(kept: nn.Linear, head: nn.Linear, config: ImageNetConfig) -> None:
    """Take over the head's rows for the classes of the data."""
    rows = IMAGENET_CLASSES if config.dataset == "imagenette" else range(kept.out_features)
    if len(rows) != head.out_features:
        raise UserInputError(
            f"head='keep' is not allowed: the data must have the {len(rows)} classes of the "
            f"weights' head, but have {head.out_features}."
        )
    index = list(rows)
    head.weight.data.copy_(kept.weight.data[index])
    head.bias.data.copy_(kept.bias.data[index])


def _require_head(missing: list[str], config: ImageNetConfig) -> None:
    if any(key.startswith("fc.") for key in missing):
        raise UserInputError(
            f"head='keep' is not allowed with weights={config.weights!r}: it must be fresh, for "
            "these weights have no head."
        )


def _require_trunk(trunk: nn.Module, missing: list[str], config: ImageNetConfig) -> None:
    """Refuse to freeze what nobody trained."""
    lacking = [key for key in missing if key in trunk.state_dict()]
    if lacking:
        raise UserInputError(
            f"trainable={config.trainable!r} is not allowed with weights={config.weights!r}: the "
            f"layers that stay frozen must be in the weights, but {len(lacking)} of their tensors "
            f"are not, {lacking[0]!r} the first."
        )
