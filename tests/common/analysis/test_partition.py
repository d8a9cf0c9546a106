from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image

from common.analysis.inline_svg import inline_svg
from common.analysis.partition import _by_main_label, plot_partition


@pytest.mark.parametrize(("num_clients", "num_classes"), [(1, 1), (10, 10), (1_001, 100)])
def test_draws_any_shape_without_warnings(tmp_path, recwarn, num_clients, num_classes):
    counts = np.random.default_rng(0).integers(0, 50, (num_clients, num_classes))
    counts[0, 0] = 7
    plot_partition(counts, tmp_path / "partition.png", "A partition")
    pixels = image.imread(tmp_path / "partition.png")
    assert pixels.shape[:2] == (960, 2200)
    assert not recwarn.list


def test_says_what_it_shows(tmp_path):
    counts = np.array([[1500, 1], [0, 0], [3, 2]])
    plot_partition(counts, tmp_path / "partition.svg", "Three clients")
    root = ElementTree.parse(tmp_path / "partition.svg").getroot()
    text = "\n".join("".join(node.itertext()) for node in root.iter() if "text" in node.tag)
    for shown in ("3 clients, 1,506 examples", "smallest 0, largest 1,501", "no examples", "1,500"):
        assert shown in text


def test_a_page_can_show_it_in_light_and_dark(tmp_path):
    plot_partition(np.array([[9, 1], [0, 0]]), tmp_path / "partition.svg", "Two clients")
    root = ElementTree.fromstring(
        inline_svg((tmp_path / "partition.svg").read_text(), "partition", "Two clients")
    )
    letters = {
        "".join(node.itertext()): node.get("style") for node in root.iter() if "text" in node.tag
    }
    assert "fill:#ffffff" in letters["9"], "on a dark cell in both"
    assert "fill" not in letters["1"]
    (shares, _) = (node for node in root.iter() if node.tag.endswith("}image"))
    pixels = image.imread(BytesIO(b64decode(shares.get("href").partition(",")[2])))
    # From below, and from the left: 0.9 of the first client's are of label 0, the second has none.
    assert pixels[-1, 0, 3] > 0.9 > pixels[0, 0, 3] > 0
    assert pixels[:, -1, :3] == pytest.approx(0.5, abs=0.01)


def test_the_same_partition_gives_the_same_file(tmp_path):
    counts = np.array([[3, 1], [0, 4]])
    for suffix in ("svg", "png"):
        files = [tmp_path / f"{name}.{suffix}" for name in ("first", "again", "other")]
        plot_partition(counts, files[0], "title")
        plot_partition(counts, files[1], "title")
        plot_partition(counts[::-1], files[2], "title")
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].read_bytes() != files[2].read_bytes()


def test_orders_by_main_label_then_size_with_empty_clients_last():
    counts = np.array([[0, 0], [1, 2], [5, 0], [0, 9], [6, 1]])
    assert _by_main_label(counts).tolist() == [4, 2, 3, 1, 0]


def test_refuses_another_format(tmp_path):
    with pytest.raises(ValueError, match=r"partition\.pdf is not allowed: its suffix must be "):
        plot_partition(np.ones((2, 2), int), tmp_path / "partition.pdf", "title")


def test_refuses_a_partition_without_examples(tmp_path):
    with pytest.raises(ValueError, match=r"^counts of shape \(2, 3\) and sum 0 is not allowed: "):
        plot_partition(np.zeros((2, 3), int), tmp_path / "partition.png", "title")
    assert not any(tmp_path.iterdir())
