import os
import shutil

import pytest

from common.data.class_folders import ClassFolders
from common.errors import UserInputError

A, B, C = "n00000001", "n00000002", "n00000010"


def folders(folder, most_classes=1000, wnids=None):
    return ClassFolders("imagenet", folder, most_classes, wnids)


def message(folder, read, **options):
    with pytest.raises(UserInputError) as caught:
        read(folders(folder, **options))
    start, end = f"dataset='imagenet' cannot be loaded: '{folder}", "."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    return str(caught.value).removeprefix(start).removesuffix(end)


@pytest.fixture
def val(write_class_folders):
    return write_class_folders("imagenet", val={C: 1, A: 3, B: 2}) / "val"


def test_labels_are_the_positions_of_the_sorted_class_folders(val):
    split = folders(val)
    assert split.classes == [A, B, C]
    assert split.num_classes == 3
    assert split.count() == 6
    assert [(image.label, image.file) for image in split.images()] == [
        (0, val / A / "0.JPEG"),
        (0, val / A / "1.JPEG"),
        (0, val / A / "2.JPEG"),
        (1, val / B / "0.JPEG"),
        (1, val / B / "1.JPEG"),
        (2, val / C / "0.JPEG"),
    ]
    assert next(split.images()).name == f"'val/{A}/0.JPEG'"


@pytest.mark.slow  # To import torchvision takes longer than all other tests here.
def test_images_and_labels_are_those_of_torchvision(val):
    from torchvision.datasets import ImageFolder

    theirs = ImageFolder(str(val))
    split = folders(val)
    assert split.classes == theirs.classes
    assert [(str(image.file), image.label) for image in split.images()] == theirs.samples


def test_images_are_found_at_any_depth_and_with_any_ending_of_theirs(val):
    """Tiny ImageNet has its images in a folder of the class folder."""
    (val / A / "images").mkdir()
    (val / A / "0.JPEG").rename(val / A / "images" / "x.jpg")
    (val / A / "1.JPEG").rename(val / A / "y.png")
    (val / A / "2.JPEG").rename(val / A / "z.WebP")
    (val / A / "boxes.txt").touch()
    (val / "list.txt").touch()
    found = [image.name for image in folders(val).images() if image.label == 0]
    assert found == [f"'val/{A}/{name}'" for name in ("y.png", "z.WebP", "images/x.jpg")]


def test_a_folder_that_cannot_be_read(data_folder):
    rule = "' must be a folder that can be read ("
    missing = data_folder / "val"
    assert message(missing, ClassFolders.count) == f"{rule}No such file or directory)"
    missing.touch()
    assert message(missing, lambda split: split.fingerprint) == f"{rule}Not a directory)"


def test_no_class_folders(val):
    """As the validation split is distributed: all images in one folder."""
    for wnid in (A, B, C):
        shutil.rmtree(val / wnid)
    (val / "ILSVRC2012_val_00000001.JPEG").touch()
    assert message(val, ClassFolders.count) == "' must hold one folder a class, and holds none"


@pytest.mark.parametrize("name", ["images", "n1", "n000000011", "N00000001", "n0000000\u0661"])
def test_a_class_folder_without_a_wordnet_id(val, name):
    (val / name).mkdir()
    assert message(val, ClassFolders.count) == (
        f"' must hold class folders with WordNet ids, n and 8 digits, for names, unlike {name!r}"
    )


def test_too_many_class_folders(val):
    rule = "' must hold at most 2 class folders, and holds 3"
    assert message(val, ClassFolders.count, most_classes=2) == rule


def test_the_class_folders_that_there_must_be(val):
    assert folders(val, wnids=(A, B, C)).num_classes == 3
    rule = "' must hold the class folders of 'imagenet' and no others: "
    for wnids, wrong in (((A, C), f"'{B}' is another"), ((A, B, C, "n9"), "'n9' is missing")):
        assert message(val, ClassFolders.count, wnids=wnids) == rule + wrong


def test_other_class_folders_than_another_split(write_class_folders):
    folder = write_class_folders("imagenet", train={A: 1, B: 1}, val={A: 1, C: 1})
    train, val = folders(folder / "train"), folder / "val"
    rule = f"' must hold the class folders of '{train.folder}' and no others: "
    assert message(val, lambda split: split.require_classes_of(train)) == rule + f"'{B}' is missing"
    (val / B).mkdir()
    assert message(val, lambda split: split.require_classes_of(train)) == rule + f"'{C}' is another"
    shutil.rmtree(val / C)
    folders(val).require_classes_of(train)


@pytest.mark.parametrize("read", [ClassFolders.count, lambda split: split.fingerprint])
def test_a_class_folder_without_images(val, read):
    (val / C / "0.JPEG").rename(val / C / "0.txt")
    rule = f"/{C}' must hold at least one image (.jpeg, .jpg, .png, .webp)"
    assert message(val, read) == rule


def test_fingerprint_follows_names_sizes_and_times(val, tmp_path):
    file = val / A / "0.JPEG"
    os.utime(file, ns=(0, 0))
    seen = [folders(val).fingerprint]
    assert folders(val).fingerprint == seen[0]
    os.utime(file, ns=(1, 1))
    seen.append(folders(val).fingerprint)
    file.write_bytes(b"longer" * 1000)
    os.utime(file, ns=(0, 0))
    seen.append(folders(val).fingerprint)
    file.rename(val / A / "9.JPEG")
    seen.append(folders(val).fingerprint)
    (val / A / "9.JPEG").rename(val / B / "9.JPEG")
    seen.append(folders(val).fingerprint)
    (val / A / "link.JPEG").symlink_to("nowhere")
    seen.append(folders(val).fingerprint)
    assert len(set(seen)) == 6
    shutil.copytree(val, tmp_path / "elsewhere", symlinks=True)
    assert folders(tmp_path / "elsewhere").fingerprint == seen[-1]


def test_names_of_any_bytes(val):
    name = os.fsdecode(b"\xff\n.JPEG")
    (val / A / "0.JPEG").rename(val / A / name)
    split = folders(val)
    assert split.fingerprint
    assert [image.name for image in split.images()][2] == f"'val/{A}/\\udcff\\n.JPEG'"
