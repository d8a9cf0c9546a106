import os
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.data import load, store
from common.data.store import HubRows, HubSplit, find_parquet, fingerprint, load_split
from common.errors import UserInputError

COLUMNS = ("image.bytes", "label")


def load_test_split():
    return load_split("mnist", "ylecun/mnist", "test", COLUMNS)


def test_local_file_is_read_as_it_is(tiny_mnist_folder, tiny_mnist_arrays, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    monkeypatch.setattr(store, "_hub_is_reachable", None)  # Nobody asks.
    split = load_test_split()
    assert split.source == str(tiny_mnist_folder / "mnist" / "test.parquet")
    assert split.table.column_names == ["image", "label"]
    assert split.table["label"].to_pylist() == tiny_mnist_arrays.y_test.tolist()
    assert split.table["image"][0].as_py()["bytes"].startswith(b"\x89PNG")


@pytest.fixture
def no_hub(monkeypatch):
    """The hub is not reachable, and its client says so as it does: with an error of its own."""
    asked = []

    def load_dataset(name, split):
        asked.append((name, split, os.environ.get("HF_HUB_OFFLINE")))
        raise ConnectionError(f"Couldn't reach {name}\non the Hub")

    monkeypatch.setattr(store, "_hub_is_reachable", lambda: False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # Restored afterwards, whatever the code sets.
    return asked


@pytest.mark.parametrize("known", [True, False])
def test_neither_disk_nor_hub_is_one_sentence_with_both_ways(tmp_path, monkeypatch, no_hub, known):
    if known:
        monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
        state = f"FLOWERBED_DATA is '{tmp_path}'"
    else:
        monkeypatch.delenv("FLOWERBED_DATA", raising=False)
        state = "FLOWERBED_DATA is not set"
    start = time.monotonic()
    with pytest.raises(UserInputError) as caught:
        load("mnist")
    assert time.monotonic() - start < 5
    assert str(caught.value) == (
        "dataset='mnist' cannot be loaded: it must be at $FLOWERBED_DATA/mnist/train.parquet "
        f"({state}), or the Hugging Face hub must be reachable, where it is 'ylecun/mnist' "
        "(ConnectionError)."
    )
    assert no_hub == [("ylecun/mnist", "train", "1")]  # What is downloaded already would do.


def test_a_split_that_is_missing_on_disk_comes_from_the_hub(
    tmp_path, monkeypatch, no_hub, tiny_mnist_arrays, write_split
):
    write_split(
        tmp_path / "mnist" / "train.parquet", tiny_mnist_arrays.x_train, tiny_mnist_arrays.y_train
    )
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    with pytest.raises(UserInputError, match=r"\$FLOWERBED_DATA/mnist/test\.parquet"):
        load("mnist")
    assert [split for _, split, _ in no_hub] == ["test"]


def test_hub_table_has_the_images_still_encoded(tiny_mnist_folder, monkeypatch):
    """As the hub's client hands it over: its own class, from which the plain table must come."""
    import datasets

    file = tiny_mnist_folder / "mnist" / "test.parquet"
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=[str(i) for i in range(10)])
    )
    hub = datasets.Dataset.from_parquet(
        str(file), features=features, cache_dir=str(tiny_mnist_folder / "hub_cache")
    )
    monkeypatch.delenv("FLOWERBED_DATA", raising=False)
    monkeypatch.setattr(store, "_hub_is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: {"test": hub}[split])
    split = load_test_split()
    assert isinstance(split.table, pa.Table)
    assert split.source == "ylecun/mnist/test"
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    local = load_test_split().table
    assert split.table["label"].to_pylist() == local["label"].to_pylist()
    images = [image["bytes"] for image in split.table["image"].to_pylist()]
    assert images == [image["bytes"] for image in local["image"].to_pylist()]


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "no address"])
def test_an_unreachable_hub_is_found_so_quickly(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    start = time.monotonic()
    assert store._hub_is_reachable() is False
    assert time.monotonic() - start < 5


def test_fingerprint_follows_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    hub = fingerprint("mnist", ("train", "test"))
    file = tmp_path / "mnist" / "train.parquet"
    file.parent.mkdir()
    file.write_bytes(b"one")
    local = fingerprint("mnist", ("train", "test"))
    assert fingerprint("mnist", ("train", "test")) == local
    os.utime(file, ns=(0, 0))
    touched = fingerprint("mnist", ("train", "test"))
    file.write_bytes(b"other")
    os.utime(file, ns=(0, 0))
    longer = fingerprint("mnist", ("train", "test"))
    elsewhere = tmp_path / "b" / "mnist" / "train.parquet"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"other")
    os.utime(elsewhere, ns=(0, 0))
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "b"))
    moved = fingerprint("mnist", ("train", "test"))
    assert len({hub, local, touched, longer, moved, fingerprint("other", ("train", "test"))}) == 6


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A place for a test split, where it is looked for."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    file = tmp_path / "data" / "mnist" / "test.parquet"
    file.parent.mkdir(parents=True)
    return file


def cut_off(file):
    pq.write_table(pa.table({"label": list(range(1000))}), file)
    os.truncate(file, file.stat().st_size - 20)


DAMAGES = {
    "empty": lambda file: file.touch(),
    "no parquet": lambda file: file.write_text("PAR1 or not"),
    "cut off": cut_off,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a broken link": lambda file: file.symlink_to(file.with_name("nothing")),
    "a link to itself": lambda file: file.symlink_to(file),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_whole_parquet_file_is_refused(file, damage):
    damage(file)
    with pytest.raises(UserInputError) as caught:
        load_test_split()
    start = f"dataset='mnist' cannot be loaded: '{file}' must be a parquet file, whole and readable"
    assert str(caught.value).startswith(f"{start} (")


def test_damaged_pages_are_noticed_by_their_checksums(file):
    table = pa.table({"label": list(range(1000))})
    pq.write_table(table, file, write_page_checksum=True, compression="none", use_dictionary=False)
    content = file.read_bytes()
    number = (77).to_bytes(8, "little")
    assert content.count(number) == 1
    file.write_bytes(content.replace(number, (78).to_bytes(8, "little")))
    with pytest.raises(UserInputError, match="whole and readable"):
        load_test_split()


def test_a_file_that_must_not_be_read_is_refused(file, monkeypatch):
    file.touch()

    def forbidden(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", forbidden)
    with pytest.raises(UserInputError, match=r"whole and readable \(Permission denied\)\.$"):
        load_test_split()


def test_a_file_that_cannot_be_reached_has_no_fingerprint(file):
    file.symlink_to(file)
    with pytest.raises(UserInputError, match="must be a parquet file"):
        fingerprint("mnist", ("test",))


@pytest.mark.parametrize("root", ["~nobody-of-that-name", "x" * 5000])
def test_a_root_that_cannot_be_a_folder_is_one_sentence(monkeypatch, root):
    monkeypatch.setenv("FLOWERBED_DATA", root)
    with pytest.raises(UserInputError, match=r"FLOWERBED_DATA='.*' is not allowed: it must be a f"):
        load_test_split()


def test_no_rows_are_refused(file):
    pq.write_table(pa.table({"label": pa.array([], pa.int64())}), file)
    with pytest.raises(UserInputError, match=r"test\.parquet' must have at least one row\.$"):
        load_test_split()


def write_labels(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in files.items():
        pq.write_table(
            pa.table({"label": pa.array(labels, pa.int64())}), folder / f"{name}.parquet"
        )


def shard(i, total):
    return f"test-{i:05}-of-{total:05}"


def pieces(split):
    return [(p.source, p.first_row, p.table["label"].to_pylist()) for p in split.pieces(["label"])]


def test_one_file_is_a_split(data_folder):
    folder = data_folder / "imagenet"
    write_labels(folder, test=[3, 1], train=[2])
    split = find_parquet("imagenet_val", "imagenet", "test")
    assert pieces(split) == [(str(folder / "test.parquet"), 0, [3, 1])]


def test_the_hubs_shards_are_a_split_in_their_order(data_folder):
    folder = data_folder / "imagenet"
    shards = {shard(i, 11): [i, 10 * i] for i in range(11)}
    write_labels(folder, **shards, **{shard(0, 11).replace("test", "train"): [1]})
    split = find_parquet("imagenet", "imagenet", "test")
    assert pieces(split) == [
        (str(folder / f"{name}.parquet"), 0, labels) for name, labels in shards.items()
    ]


def test_shards_without_rows_are_passed_over(data_folder):
    write_labels(data_folder / "a", **{shard(0, 2): [], shard(1, 2): [5]})
    assert [labels for _, _, labels in pieces(find_parquet("a", "a", "test"))] == [[5]]
    write_labels(data_folder / "b", **{shard(0, 2): [], shard(1, 2): []})
    with pytest.raises(UserInputError, match=r"of-00002\.parquet' must have at least one row"):
        pieces(find_parquet("b", "b", "test"))


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ([shard(0, 3), shard(2, 3)], f"'{shard(1, 3)}.parquet' is missing"),
        ([shard(0, 2), shard(1, 2), shard(1, 3)], f"'{shard(1, 3)}.parquet' is one"),
        ([shard(0, 1), shard(1, 1)], f"'{shard(1, 1)}.parquet' is one"),
        ([shard(0, 0)], f"'{shard(0, 0)}.parquet' is one"),
    ],
)
def test_shards_that_are_not_complete_are_refused(data_folder, names, rule):
    write_labels(data_folder / "imagenet", **{name: [1] for name in names})
    with pytest.raises(UserInputError, match=rf"{rule}\.$") as caught:
        find_parquet("imagenet_val", "imagenet", "test")
    assert str(caught.value).startswith("dataset='imagenet_val' cannot be loaded: '")


def test_nothing_is_no_split(data_folder, monkeypatch):
    assert find_parquet("imagenet", "imagenet", "test") is None
    write_labels(data_folder / "imagenet", train=[1], **{"test-1-of-2": [1]})
    assert find_parquet("imagenet", "imagenet", "test") is None
    monkeypatch.delenv("FLOWERBED_DATA")
    assert find_parquet("imagenet", "imagenet", "test") is None


def test_a_damaged_file_among_others_is_named(data_folder):
    write_labels(data_folder / "a", **{shard(0, 2): [1], shard(1, 2): [5]})
    damaged = data_folder / "a" / f"{shard(1, 2)}.parquet"
    os.truncate(damaged, 30)
    split = find_parquet("a", "a", "test")
    with pytest.raises(UserInputError, match=f"'{damaged}' must be a parquet file, whole and"):
        pieces(split)


def test_rows_are_counted_over_the_pieces_of_a_file(data_folder):
    rows = [{"bytes": bytes([i])} for i in range(10)]
    (data_folder / "a").mkdir()
    pq.write_table(pa.table({"image": rows}), data_folder / "a" / "test.parquet", row_group_size=7)
    found = list(find_parquet("a", "a", "test").pieces(["image.bytes"]))
    assert [piece.first_row for piece in found] == [0, 4, 7]
    assert [x["bytes"][0] for p in found for x in p.table["image"].to_pylist()] == [*range(10)]


def test_fingerprint_of_shards_follows_each_of_them(data_folder):
    write_labels(data_folder / "a", **{shard(0, 2): [1], shard(1, 2): [5]})
    split = find_parquet("a", "a", "test")
    before = split.fingerprint
    assert find_parquet("b", "a", "test").fingerprint == before
    os.utime(data_folder / "a" / f"{shard(1, 2)}.parquet", ns=(1, 1))
    assert split.fingerprint != before


class FakeHub:
    """The hub's client, with a data set of labels 0 to 69."""

    def __init__(self):
        self.calls = []

    def load_dataset(self, repository, **options):
        import datasets

        self.calls.append((repository, options))
        return datasets.Dataset.from_dict({"label": list(range(70)), "other": list(range(70))})


@pytest.fixture
def hub(monkeypatch):
    hub = FakeHub()
    monkeypatch.setattr(store, "_hub_is_reachable", lambda: True)
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    return hub


def test_the_hubs_rows_are_downloaded_once_they_are_read(hub):
    rows = HubRows("imagenette", HubSplit("frgfm/imagenette", "validation", "320px"), "")
    assert rows.fingerprint == "hub"
    assert hub.calls == []
    for _ in range(2):
        found = pieces(rows)
        assert [label for _, _, labels in found for label in labels] == list(range(70))
        assert {source for source, _, _ in found} == {"frgfm/imagenette/validation"}
        assert [first for _, first, _ in found] == [0, 32, 64]
    assert hub.calls == [("frgfm/imagenette", {"name": "320px", "split": "validation"})]
    assert next(rows.pieces(["label", "image.bytes"])).table.column_names == ["label"]


def test_of_the_hub_only_the_files_of_a_split_are_downloaded(hub):
    split = HubSplit("ILSVRC/imagenet-1k", "validation", files="data/validation-*.parquet")
    next(HubRows("imagenet_val", split, "").pieces(["label"]))
    [(name, options)] = hub.calls
    assert name == "ILSVRC/imagenet-1k"
    assert options == {
        "split": "validation",
        "data_files": {"validation": "data/validation-*.parquet"},
        "verification_mode": "no_checks",
    }


def test_a_hub_that_is_not_reachable_is_one_sentence_with_all_places(no_hub, monkeypatch):
    monkeypatch.delenv("FLOWERBED_DATA", raising=False)
    rows = HubRows("imagenet", HubSplit("ILSVRC/imagenet-1k", "train"), "at A or at B")
    with pytest.raises(UserInputError) as caught:
        next(rows.pieces(["label"]))
    assert str(caught.value) == (
        "dataset='imagenet' cannot be loaded: it must be at A or at B (FLOWERBED_DATA is not set), "
        "or the Hugging Face hub must be reachable, where it is 'ILSVRC/imagenet-1k' "
        "(ConnectionError)."
    )
