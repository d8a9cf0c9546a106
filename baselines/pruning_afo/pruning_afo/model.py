"""ResNets for CIFAR-10 (He et al. 2016, arXiv 1512.03385), made of torchvision's blocks."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from common.randomness import Purpose, torch_seeded
from pruning_afo.config import ModelName, Norm, PruningConfig, Stem

Block = type[BasicBlock] | type[Bottleneck]

_BLOCKS: Final[dict[ModelName, tuple[Block, tuple[int, ...]]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
# Wu & He 2018 (arXiv 1803.08494), section 4; where a layer is too narrow, groups of 2 channels.
_GROUPS: Final = 32


def make_model(config: PruningConfig, num_classes: int) -> nn.Sequential:
    """Return the configured network with its initial weights, a function of the seed.

    With ``width`` 64, the ImageNet stem and BatchNorm it is torchvision's network, tensor by
    tensor: names, shapes and the distribution that initial weights are drawn from. A CIFAR stem is
    that of He et al., section 4.2: 3 x 3, stride 1, no pooling.

    Args:
        config: The run's configuration.
        num_classes: Number of labels.
    """
    with torch_seeded(config.seed, Purpose.INITIAL_WEIGHTS):
        return build_resnet(config.model, config.width, config.stem, config.norm, num_classes)


def build_resnet(
    model: ModelName, width: int, stem: Stem, norm: Norm, num_classes: int
) -> nn.Sequential:
    """Return a network with weights drawn from torch's global generator.

    Args:
        model: Which blocks, and how many of them.
        width: Channels of the first stage; each further one has twice as many.
        stem: The first layers.
        norm: Of every layer but the last.
        num_classes: Outputs.
    """
    make_norm = _GroupNorm if norm == "group" else nn.BatchNorm2d
    block, numbers = _BLOCKS[model]
    layers = _stem(stem, width, make_norm)
    channels = width
    for stage, number in enumerate(numbers):
        planes = width * 2**stage
        stride = 1 if stage == 0 else 2
        layers[f"layer{stage + 1}"] = _stage(block, channels, planes, number, stride, make_norm)
        channels = planes * block.expansion
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, num_classes)
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # As torchvision's, after He et al. 2015.
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


class _GroupNorm(nn.GroupNorm):
    def __init__(self, channels: int) -> None:
        super().__init__(max(1, min(_GROUPS, channels // 2)), channels)


MakeNorm = Callable[[int], nn.Module]


def _stem(stem: Stem, width: int, make_norm: MakeNorm) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "imagenet":
        layers["conv1"] = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    else:
        layers["conv1"] = nn.Conv2d(3, width, 3, padding=1, bias=False)
    layers["bn1"] = make_norm(width)
    layers["relu"] = nn.ReLU(inplace=True)
    if stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return layers


def _stage(
    block: Block, channels: int, planes: int, number: int, stride: int, make_norm: MakeNorm
) -> nn.Sequential:
    """Return the blocks of a stage, of which the first has the stride."""
    out = planes * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels, out, 1, stride=stride, bias=False), make_norm(out)
        )
    first = block(channels, planes, stride, shortcut, norm_layer=make_norm)
    others = [block(out, planes, norm_layer=make_norm) for _ in range(number - 1)]
    return nn.Sequential(first, *others)
