from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from common.data import images, load_images
from common.data.imagenette import WNIDS
from common.errors import UserInputError

A, B, C = "n00000001", "n00000002", "n00000003"
BROKEN = b"no image"


@pytest.fixture
def write_table(data_folder, encode):
    """Writes a split in the hub's schema, of images of one shade each."""

    def write(file, shades, labels, column="image", kind="WEBP"):
        rows = [{"bytes": encode(6, 8, shade, kind), "path": None} for shade in shades]
        (data_folder / file).parent.mkdir(exist_ok=True)
        table = pa.table({column: rows, "label": pa.array(labels, pa.int64())})
        pq.write_table(table, data_folder / file)

    return write


def shades(x):
    """Return the grey of each image, all of whose pixels have the same one."""
    pixels = x[np.arange(len(x))]
    assert pixels.dtype == np.uint8
    assert (np.ptp(pixels.astype(int), axis=(1, 2, 3)) <= 1).all()
    return pixels[:, 0, 0, 0].round(-1).tolist()


def no_decoding(monkeypatch):
    monkeypatch.setattr(images, "decode_in_parallel", None)


@pytest.mark.parametrize(
    ("name", "files", "column"),
    [
        ("cifar10", ("train", "test"), "img"),
        ("imagenette", ("train", "validation"), "image"),
        ("tiny_imagenet", ("train", "valid"), "image"),
        ("imagenet", ("train", "validation"), "image"),
    ],
)
def test_each_data_set_is_found_by_its_names(write_table, name, files, column):
    write_table(f"{name}/{files[0]}.parquet", [10, 20, 30], [2, 0, 1], column)
    write_table(f"{name}/{files[1]}.parquet", [40, 50], [1, 1], column)
    data = load_images(name, 4, "end", seed=0)
    assert data.x_train.shape == (3, 4, 4, 3)
    assert data.x_test.shape == (2, 4, 4, 3)
    assert shades(data.x_train) == [10, 20, 30]
    assert shades(data.x_test) == [40, 50]
    assert data.y_train.tolist() == [2, 0, 1]
    assert data.y_test.tolist() == [1, 1]
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    classes = {"cifar10": 10, "imagenette": 10, "tiny_imagenet": 200, "imagenet": 1000}
    assert data.num_classes == classes[name]


def test_unknown_name_has_no_loader():
    with pytest.raises(KeyError):
        load_images("nosuch", 4, "end", seed=0)


def test_shards_are_one_split(write_table):
    for i in range(3):
        write_table(f"imagenet/train-{i:05}-of-00003.parquet", [10 * i + 10] * 5, [i] * 5)
    write_table("imagenet/validation-00000-of-00001.parquet", [40, 50], [1, 1])
    data = load_images("imagenet", 4, "end", seed=0)
    assert shades(data.x_train) == [10] * 5 + [20] * 5 + [30] * 5
    assert data.y_train.tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("name", ["imagenet", "tiny_imagenet"])
def test_class_folders(write_class_folders, name):
    write_class_folders(name, train={B: 2, A: 3, C: 1}, val={C: 1, A: 1, B: 1})
    data = load_images(name, 4, "end", seed=0)
    assert data.num_classes == 3
    assert data.y_train.tolist() == [0, 0, 0, 1, 1, 2]
    assert shades(data.x_train) == [40, 40, 40, 20, 20, 60]  # In the order they were written.
    assert data.y_test.tolist() == [0, 1, 2]


def test_imagenette_has_its_class_folders(write_class_folders):
    folder = write_class_folders("imagenette", train=dict.fromkeys(WNIDS, 1), val={A: 1})
    with pytest.raises(
        UserInputError, match=rf"'{folder}/val' must hold the class folders of 'ima"
    ):
        load_images("imagenette", 4, "end", seed=0)
    (folder / "val").rename(folder / "old")
    write_class_folders("imagenette", val=dict.fromkeys(WNIDS, 1))
    assert load_images("imagenette", 4, "end", seed=0).y_test.tolist() == list(range(10))


@pytest.fixture
def val(write_class_folders):
    """ILSVRC-2012's validation split with three classes of 20, 30 and 50 images."""
    return write_class_folders("imagenet", val={A: 20, B: 30, C: 50}) / "val"


def test_a_tenth_of_every_class_of_the_validation_split_is_to_test_with(val):
    data = load_images("imagenet_val", 4, "end", seed=3)
    assert np.bincount(data.y_train).tolist() == [18, 27, 45]
    assert np.bincount(data.y_test).tolist() == [2, 3, 5]
    assert data.num_classes == 3
    assert shades(data.x_train) == (20 * (data.y_train + 1)).tolist()
    assert shades(data.x_test) == (20 * (data.y_test + 1)).tolist()
    together = np.sort(np.concatenate([data.x_train.rows, data.x_test.rows]))
    np.testing.assert_array_equal(together, np.arange(100))


def test_another_seed_splits_the_same_decoded_images(val, cache, monkeypatch):
    first = load_images("imagenet_val", 4, "end", seed=0)
    no_decoding(monkeypatch)
    other = load_images("imagenet_val", 4, "end", seed=1)
    assert first.x_test.rows.tolist() != other.x_test.rows.tolist()
    again = load_images("imagenet_val", 4, "end", seed=0)
    assert first.x_test.rows.tolist() == again.x_test.rows.tolist()
    assert len(list(cache.glob("*/x.npy"))) == 1


def test_images_of_both_imagenets_are_decoded_once(val, write_class_folders, cache):
    write_class_folders("imagenet", train={A: 1, B: 1, C: 1})
    load_images("imagenet_val", 4, "end", seed=0)
    load_images("imagenet", 4, "end", seed=0)
    assert len(list(cache.glob("imagenet-validation-*/x.npy"))) == 1
    assert len(list(cache.glob("imagenet-train-*/x.npy"))) == 1


def test_imagenet_is_cropped_and_the_others_are_not(data_folder, write_table, encode):
    """The left and the right fourteenth of the scaled image are cut off, and so above and below."""
    pixels = np.full((64, 64, 3), 200, np.uint8)
    pixels[:, :3] = pixels[:, -3:] = pixels[:3] = pixels[-3:] = 0
    for name, column, split in (("imagenet", "image", "validation"), ("cifar10", "img", "test")):
        write_table(f"{name}/train.parquet", [0], [0], column)
        Image.fromarray(pixels).save(data_folder / "x.png")
        rows = [{"bytes": (data_folder / "x.png").read_bytes()}]
        pq.write_table(
            pa.table({column: rows, "label": [0]}), data_folder / name / f"{split}.parquet"
        )
    assert load_images("imagenet", 56, "end", 0).x_test[np.array([0])].min() == 200
    assert load_images("cifar10", 56, "end", 0).x_test[np.array([0])].min() == 0


def test_decoded_once_and_mapped_from_the_cache(val, monkeypatch, capsys):
    load_images("imagenet_val", 4, "end", seed=0)
    assert "decoding imagenet-validation: 100 examples" in capsys.readouterr().err
    no_decoding(monkeypatch)
    data = load_images("imagenet_val", 4, "end", seed=0)
    assert isinstance(data.x_train.stored, np.memmap)
    assert not data.x_train.stored.flags.writeable
    assert capsys.readouterr() == ("", "")


def test_another_size_or_changed_files_are_decoded_again(val, cache, encode):
    load_images("imagenet_val", 4, "end", seed=0)
    assert load_images("imagenet_val", 5, "end", seed=0).x_train.shape == (90, 5, 5, 3)
    (val / A / "0.JPEG").write_bytes(encode(50, 50, 100))
    data = load_images("imagenet_val", 4, "end", seed=0)
    assert 100 in shades(data.x_train) + shades(data.x_test)
    assert len(list(cache.glob("*/x.npy"))) == 3


def test_a_corrupt_image_ends_it(val):
    (val / B / "7.JPEG").write_bytes(BROKEN)
    for _ in range(2):  # The second time it is known from the cache.
        with pytest.raises(UserInputError) as caught:
            load_images("imagenet_val", 4, "end", seed=0)
        assert str(caught.value) == (
            "dataset='imagenet_val' cannot be loaded: 1 of its 100 images are corrupt "
            f"('val/{B}/7.JPEG' is no JPEG, PNG or WebP), which on_corrupt_image='end' does not "
            "allow, but 'skip' does."
        )


def test_corrupt_images_are_left_out_and_told_every_time(val, capsys, monkeypatch):
    for i in range(3, 8):
        file = val / C / f"{i}.JPEG"
        file.write_bytes(file.read_bytes()[:300])
    for _ in range(2):
        data = load_images("imagenet_val", 4, "skip", seed=0)
        assert len(data.y_train) + len(data.y_test) == len(data.x_train) + len(data.x_test) == 95
        assert shades(data.x_train) == (20 * (data.y_train + 1)).tolist()
        told = capsys.readouterr().err.splitlines()[-1]
        why = "is not readable (damaged or cut off)"
        names = "; ".join(f"'val/{C}/{i}.JPEG' {why}" for i in (3, 4, 5))
        assert told == (
            f"dataset='imagenet_val': 5 of its 100 images are corrupt ({names}; ...) and left out"
        )
        no_decoding(monkeypatch)


def test_a_corrupt_image_of_a_file_is_named_by_its_row(write_table, data_folder):
    write_table("cifar10/train.parquet", [10] * 9, [1] * 9, "img")
    rows = [{"bytes": BROKEN}] * 2
    file = data_folder / "cifar10" / "test.parquet"
    pq.write_table(
        pa.table(
            {"img": rows, "label": [0, 1]},
        ),
        file,
    )
    with pytest.raises(UserInputError, match=r"none of the 2 images of cifar10-test can be"):
        load_images("cifar10", 4, "skip", seed=0)
    write_table("cifar10/test.parquet", [10] * 9, [1] * 9, "img")
    table = pq.read_table(file).to_pylist()
    table[6]["img"]["bytes"] = BROKEN
    pq.write_table(pa.Table.from_pylist(table), file)
    with pytest.raises(UserInputError, match=rf"1 of its 18 .* \(row 6 of '{file}' is no JPEG"):
        load_images("cifar10", 4, "end", seed=0)


def test_a_wrong_label_of_one_split_is_found_before_another_is_decoded(write_table, monkeypatch):
    write_table("cifar10/train.parquet", [10], [1], "img")
    write_table("cifar10/test.parquet", [10, 20], [1, 10], "img")
    no_decoding(monkeypatch)
    with pytest.raises(UserInputError, match=r"from 0 to 9 .* and row 1 .* has 10\.$"):
        load_images("cifar10", 4, "end", seed=0)


def test_too_little_space_is_found_before_anything_is_decoded(val, monkeypatch):
    no_decoding(monkeypatch)
    with pytest.raises(UserInputError, match=r"decoded data \(.* GB are needed and .* are free"):
        load_images("imagenet_val", 1_000_000, "end", seed=0)


def test_decoding_takes_far_less_memory_than_the_images(write_class_folders):
    """Its own memory, which is not that of files."""
    write_class_folders("imagenet", val={A: 500})
    own = []

    def watched(*arguments):
        for part in decode_in_parallel(*arguments):
            status = Path("/proc/self/status").read_text()
            own.append(int(status.partition("RssAnon:")[2].split()[0]) / 1024)
            yield part

    decode_in_parallel = images.decode_in_parallel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "decode_in_parallel", watched)
        data = load_images("imagenet_val", 224, "end", seed=0)
    assert data.x_train.stored.nbytes / 2**20 > 70
    assert max(own) - own[0] < 25
