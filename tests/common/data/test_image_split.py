import pyarrow as pa
import pytest

from common.data.image_split import EncodedImage, ImageTable
from common.data.store import Split
from common.errors import UserInputError


class Rows:
    """A stored split of three rows, in two pieces."""

    fingerprint = "abc"

    def __init__(self, labels=(4, 0, 9)):
        self._labels = labels

    def pieces(self, columns):
        assert {column.partition(".")[0] for column in columns} <= {"img", "label"}
        table = pa.table({"img": [{"bytes": bytes([i])} for i in range(3)], "label": self._labels})
        yield Split("cifar10", "train.parquet", table[:2])
        yield Split("cifar10", "train.parquet", table[2:], first_row=2)


def test_rows_are_images():
    split = ImageTable(Rows(), "img", "label", 10)
    assert split.fingerprint == "abc"
    assert split.num_classes == 10
    assert split.count() == 3
    assert list(split.images()) == [
        EncodedImage(4, "row 0 of 'train.parquet'", b"\x00"),
        EncodedImage(0, "row 1 of 'train.parquet'", b"\x01"),
        EncodedImage(9, "row 2 of 'train.parquet'", b"\x02"),
    ]


@pytest.mark.parametrize("read", [ImageTable.count, lambda split: list(split.images())])
def test_a_label_that_is_not_allowed_is_named_by_its_row(read):
    with pytest.raises(UserInputError, match=r"from 0 to 9 .* and row 2 .* has 10\.$"):
        read(ImageTable(Rows([4, 0, 10]), "img", "label", 10))
