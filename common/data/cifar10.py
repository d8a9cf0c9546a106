"""CIFAR-10 (Krizhevsky 2009): ten classes at 32 x 32 pixels."""

from typing import Final

from common.data.image_source import ImageSource, SplitNames

CIFAR10: Final = ImageSource(
    folder="cifar10",
    repository="uoft-cs/cifar10",
    train=SplitNames(hub="train", class_folders="train"),
    test=SplitNames(hub="test", class_folders="test"),
    image_column="img",
    label_column="label",
    num_classes=10,
    has_wnids=False,
)
