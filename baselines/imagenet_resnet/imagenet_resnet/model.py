"""ResNets (He et al. 2016, arXiv 1512.03385), cut into a frozen trunk and the layers to train."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn
from torchvision.models import ResNet, get_model
from torchvision.ops import FrozenBatchNorm2d

from common.data.imagenette import IMAGENET_CLASSES
from common.errors import UserInputError
from common.randomness import Purpose, torch_seeded
from imagenet_resnet.config import ImageNetConfig, Norm
from imagenet_resnet.weights import fill, load_weights

_FIRST_TRAINED: Final = {"all": "conv1", "layer4": "layer4", "head": "fc"}
_CHILDREN: Final = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")
# Wu & He 2018 (arXiv 1803.08494), section 4: 32 groups.
_GROUPS: Final = 32


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
    """Return the configured network with its initial weights, a function of seed and ``weights``.

    Args:
        config: The run's configuration.
        num_classes: Number of labels.

    Raises:
        UserInputError: The weights cannot be had, are of another network, or lack what is not
            trained; or the head that is to be kept has other classes.
    """
    with torch_seeded(config.seed, Purpose.INITIAL_WEIGHTS):
        network = get_model(config.model)
        head = nn.Linear(_width(config), num_classes)
    missing = take_over_weights(network, config)
    if config.head == "keep":
        _keep_rows(network.fc, head, config)
    trunk, tail = _split(network, config, head)
    own = tail.state_dict()
    return SplitResNet(trunk, tail, [key for key in missing if key in own])


def take_over_weights(network: ResNet, config: ImageNetConfig) -> list[str]:
    """Overwrite the tensors of a network with those of ``weights``, if there are any.

    Returns:
        Names of the tensors that were to come from the weights, but are not in them.

    Raises:
        UserInputError: The weights cannot be had, are of another network, or lack what is not
            trained.
    """
    if config.weights == "none":
        return []
    state = load_weights(config.weights, config.model)
    missing = fill(network, state, config.weights, ignored="fc." if config.head == "fresh" else "")
    missing = [name for name in missing if config.num_stages == 4 or "layer4" not in name]
    for key, value, untrained in (
        ("head", "keep", missing),  # Zero-shot or not: a head knows the layers that it grew on.
        ("trainable", config.trainable, [name for name in missing if _is_frozen(name, config)]),
        ("norm", "frozen_batch", [name for name in missing if name.endswith("running_mean")]),
        ("buffers", "keep", [name for name in missing if name.endswith("running_mean")]),
    ):
        if getattr(config, key) == value and untrained:
            raise UserInputError(
                f"{key}={value!r} is not allowed with weights={config.weights!r}: what is kept of "
                f"the weights must be in them, but {len(untrained)} of its tensors are not, "
                f"{untrained[0]!r} the first."
            )
    return missing


def require_normalisable(config: ImageNetConfig, num_examples: Sequence[int]) -> None:
    """Refuse clients whose batches BatchNorm cannot normalise: one image, and one pixel of it.

    Args:
        config: The run's configuration.
        num_examples: n_k of every client.

    Raises:
        UserInputError: There are such clients.
    """
    last_pixels = math.ceil(config.image_size / 2 ** (config.num_stages + 1))
    if config.norm != "batch" or config.trainable == "head" or last_pixels > 1:
        return
    if config.batch_size == 1 or 1 in num_examples:
        found = "batch_size=1" if config.batch_size == 1 else "a client that has a single image"
        raise UserInputError(
            f"norm='batch' is not allowed with image_size={config.image_size} and {found}: it must "
            "be group or frozen_batch, for the last feature maps have a single pixel."
        )


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
    named = list(layers.items())
    cut = list(layers).index(_FIRST_TRAINED[config.trainable])
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


def _is_frozen(name: str, config: ImageNetConfig) -> bool:
    """Whether a tensor belongs to the trunk."""
    child = name.partition(".")[0]
    return _CHILDREN.index(child) < _CHILDREN.index(_FIRST_TRAINED[config.trainable])
