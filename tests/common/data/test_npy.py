import numpy as np
import pytest

from common.data.npy import Layout, NpyWriter


@pytest.mark.parametrize("parts", [[], [0], [3], [1, 0, 4], [1] * 12])
@pytest.mark.parametrize(("dtype", "shape"), [(np.uint8, (2, 3)), (np.int64, ())])
def test_the_file_is_the_one_that_numpy_saves(tmp_path, parts, dtype, shape):
    array = np.arange(sum(parts) * 6).astype(dtype)[: sum(parts) * max(1, int(np.prod(shape)))]
    array = array.reshape(-1, *shape)[: sum(parts)]
    with NpyWriter(tmp_path / "written.npy", Layout(dtype, shape)) as writer:
        for part in np.split(array, np.cumsum(parts)[:-1]) if parts else []:
            writer.append(part)
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "written.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_parts_in_any_order_in_memory(tmp_path):
    array = np.arange(12, dtype=np.int16).reshape(4, 3)
    with NpyWriter(tmp_path / "x.npy", Layout(np.int16, (3,))) as writer:
        writer.append(np.asfortranarray(array))
        writer.append(array[::2])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), array[[0, 1, 2, 3, 0, 2]])


@pytest.mark.parametrize(
    "part", [np.zeros((1, 3), np.int8), np.zeros((1, 4), np.uint8), np.zeros(3, np.uint8)]
)
def test_another_layout_is_refused(tmp_path, part):
    with (
        pytest.raises(ValueError, match=r"is not Layout"),
        NpyWriter(tmp_path / "x.npy", Layout(np.uint8, (3,))) as writer,
    ):
        writer.append(part)


def test_what_ended_with_an_exception_has_no_examples(tmp_path):
    def interrupted():
        with NpyWriter(tmp_path / "x.npy", Layout(np.uint8, ())) as writer:
            writer.append(np.ones(5, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(np.load(tmp_path / "x.npy")) == 0


def test_size_of_an_example():
    assert Layout(np.uint8, (4, 4, 3)).example_bytes == 48
    assert Layout(np.int64, ()).example_bytes == 8
