import sys
from types import SimpleNamespace

import pytest

from common.data import store
from common.data.cifar10 import CIFAR10
from common.data.class_folders import ClassFolders
from common.data.image_source import ImageSource, SplitNames
from common.data.image_split import ImageTable
from common.data.store import HubRows
from common.errors import UserInputError

A, B, C = "n00000001", "n00000002", "n00000003"
SOURCE = ImageSource(
    folder="imagenet",
    repository="ILSVRC/imagenet-1k",
    hub_files="data/{}-*.parquet",
    train=SplitNames(hub="train", class_folders="train"),
    test=SplitNames(hub="validation", class_folders="val"),
    image_column="image",
    label_column="label",
    num_classes=5,
    crop_ratio=224 / 256,
)
BOTH = (SOURCE.train, SOURCE.test)


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (64, 73), (32, 37), (1, 1)])
def test_a_part_of_the_scaled_image_is_taken(size, resize):
    transform = SOURCE.transform(size)
    assert (transform.resize, transform.crop) == (resize, size)


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_class_folders_are_found(write_class_folders):
    folder = write_class_folders("imagenet", train={A: 1, B: 1}, val={A: 1, B: 1})
    found = SOURCE.find("imagenet", BOTH)
    assert [split.folder for split in found] == [folder / "train", folder / "val"]
    assert [split.num_classes for split in found] == [2, 2]


def test_one_split_alone_needs_no_other(write_class_folders):
    write_class_folders("imagenet", val={A: 1, B: 1})
    [split] = SOURCE.find("imagenet_val", [SOURCE.test])
    assert isinstance(split, ClassFolders)
    assert split.dataset == "imagenet_val"


def test_class_folders_of_one_split_only_are_refused(write_class_folders):
    folder = write_class_folders("imagenet", val={A: 1, B: 1})
    with pytest.raises(UserInputError, match=f"'{folder / 'train'}' must be a folder that can be"):
        SOURCE.find("imagenet", BOTH)


def test_class_folders_of_other_classes_are_refused(write_class_folders):
    folder = write_class_folders("imagenet", train={A: 1, B: 1}, val={A: 1, B: 1, C: 1})
    with pytest.raises(UserInputError) as caught:
        SOURCE.find("imagenet", BOTH)
    assert str(caught.value) == (
        f"dataset='imagenet' cannot be loaded: '{folder / 'val'}' must hold the class folders of "
        f"'{folder / 'train'}' and no others: '{C}' is another."
    )


def test_parquet_files_go_before_class_folders(write_class_folders):
    folder = write_class_folders("imagenet", train={A: 1, B: 1}, val={A: 1, B: 1})
    touch(folder, "train.parquet", "validation-00000-of-00001.parquet")
    found = SOURCE.find("imagenet", BOTH)
    assert [split.rows.files for split in found] == [
        (folder / "train.parquet",),
        (folder / "validation-00000-of-00001.parquet",),
    ]
    assert found[0].num_classes == 5


def test_what_is_not_on_disk_is_on_the_hub(data_folder):
    for found in (SOURCE.find("imagenet", BOTH), SOURCE.find("imagenet_val", [SOURCE.test])):
        assert all(isinstance(split, ImageTable) for split in found)
        assert all(isinstance(split.rows, HubRows) for split in found)
    touch(data_folder / "imagenet", "train.parquet")
    on_disk, on_hub = SOURCE.find("imagenet", BOTH)
    assert on_disk.rows.fingerprint != "hub"
    assert on_hub.rows.fingerprint == "hub"


@pytest.fixture
def no_hub(monkeypatch):
    """The hub is not reachable, and has no client."""
    monkeypatch.setattr(store, "_hub_is_reachable", lambda: False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # Restored afterwards, whatever the code sets.


def test_neither_disk_nor_hub_is_one_sentence_with_all_ways(data_folder, no_hub):
    train, _ = SOURCE.find("imagenet", BOTH)
    with pytest.raises(UserInputError) as caught:
        train.count()
    assert str(caught.value) == (
        "dataset='imagenet' cannot be loaded: it must be at $FLOWERBED_DATA/imagenet/train.parquet "
        f"or, in class folders, at $FLOWERBED_DATA/imagenet/train (FLOWERBED_DATA is "
        f"'{data_folder}'), or the Hugging Face hub must be reachable, where it is "
        "'ILSVRC/imagenet-1k' (AttributeError)."
    )


def test_what_is_never_in_class_folders_is_not_looked_for_there(write_class_folders, no_hub):
    write_class_folders("cifar10", train={A: 1}, test={A: 1})
    splits = CIFAR10.find("cifar10", [CIFAR10.train, CIFAR10.test])
    assert all(isinstance(split.rows, HubRows) for split in splits)
    with pytest.raises(UserInputError, match=r"at \$FLOWERBED_DATA/cifar10/train.parquet \(FLOWER"):
        splits[0].count()
