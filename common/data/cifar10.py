"""CIFAR-10 (Krizhevsky 2009): ten classes at 32 x 32 pixels."""

from typing import Final

from common.data.image_source import ImageSource, SplitNames

CIFAR10: Final = ImageSource(
    folder="cifar10",
    repository="uoft-cs/cifar10",
    train=SplitNames(hub="train"),
    test=SplitNames(hub="test"),
    image_column="img",
    label_column="label",
    num_classes=10,
)
