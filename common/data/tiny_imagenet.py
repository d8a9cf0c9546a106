"""Tiny ImageNet: 200 classes of ImageNet at 64 x 64 pixels (Stanford's course CS231n).

Its images to validate with are distributed in one folder, with a list of their classes; in class
folders they must be sorted into one folder a class.
"""

from typing import Final

from common.data.image_source import ImageSource, SplitNames

TINY_IMAGENET: Final = ImageSource(
    folder="tiny_imagenet",
    repository="zh-plus/tiny-imagenet",
    train=SplitNames(hub="train", class_folders="train"),
    test=SplitNames(hub="valid", class_folders="val"),
    image_column="image",
    label_column="label",
    num_classes=200,
)
