"""Imagenette: ten classes of ImageNet-1k that are told apart easily (github.com/fastai/imagenette).

The second version, of which 70 % of a class are to train with.
"""

from typing import Final

from common.data.image_source import ImageSource, SplitNames

# By label: WordNet id and class of ImageNet-1k, which are in the same order. Tench, English
# springer, cassette player, chain saw, church, French horn, garbage truck, gas pump, golf ball and
# parachute.
WNIDS: Final = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
IMAGENET_CLASSES: Final = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)

IMAGENETTE: Final = ImageSource(
    folder="imagenette",
    repository="frgfm/imagenette",
    config="320px",
    train=SplitNames(hub="train", class_folders="train"),
    test=SplitNames(hub="validation", class_folders="val"),
    image_column="image",
    label_column="label",
    num_classes=10,
    wnids=WNIDS,
)
