"""Whatever a data file holds, it is decoded or refused in one sentence.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries.
"""

import io
import struct
import sys
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.data.columns import decode_images, decode_labels, decode_texts
from common.data.image_file import CorruptImageError, EvaluationTransform, decode_image
from common.data.image_split import ImageTable
from common.data.png import decode_png
from common.data.store import find_parquet, load_split
from common.errors import UserInputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS = [
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf"),
    *(b"acTL", b"fcTL", b"fdAT", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"abcd"),
]
IMAGE = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)

fuzz = settings.get_profile("fuzz")
edits = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=4)), min_size=1, max_size=4)


def encode(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


PNG = encode(IMAGE)


def edited(content, edits):
    """Replace a byte by any others at some places."""
    changed = bytearray(content)
    for position, replacement in edits:
        position %= len(changed) + 1
        changed[position : position + 1] = replacement
    return bytes(changed)


def chunk(name, content):
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A place for a split of MNIST, where it is looked for."""
    root = tmp_path_factory.mktemp("data")
    (root / "mnist").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_DATA", str(root))
        yield root / "mnist" / "test.parquet"


@pytest.fixture(scope="module")
def parquet():
    """Two rows as they are stored, without and with compression."""
    image = [{"bytes": PNG, "path": "0.png"}, {"bytes": PNG, "path": None}]
    table = pa.table({"image": image, "label": [3, 9]})
    contents = []
    for compression in ("none", "snappy", "zstd"):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression=compression)
        contents.append(buffer.getvalue())
    return contents


def check_refusal(error, dataset, file):
    message = str(error)
    assert message.startswith(f"dataset={dataset!r} cannot be loaded: {str(file)!r} must ")
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 300 + len(str(file))


def decode(file, content):
    """Return whether a file is decoded, to what it says it is; refused is one sentence."""
    file.write_bytes(content)
    try:
        split = load_split("mnist", "ylecun/mnist", "test", ("image.bytes", "label"))
        labels = decode_labels(split, "label", 10)
        images = decode_images(split, "image", "L", 28, 28)
    except UserInputError as error:
        check_refusal(error, "mnist", file)
        return False
    assert len(labels) == len(images) > 0
    assert labels.min() >= 0
    assert labels.max() <= 9
    return True


def test_these_files_are_decoded(file, parquet):
    assert all(decode(file, content) for content in parquet)


@fuzz
@given(content=st.binary(max_size=200))
def test_any_bytes_for_a_file(file, content):
    assert not decode(file, content)
    assert not decode(file, b"PAR1" + content + struct.pack("<I", len(content)) + b"PAR1")


@fuzz
@given(which=st.integers(0, 2), edits=edits)
def test_bytes_of_a_file_replaced(file, parquet, which, edits):
    decode(file, edited(parquet[which], edits))


@fuzz
@given(which=st.integers(0, 2), length=st.integers(0, 10_000))
def test_a_file_cut_off(file, parquet, which, length):
    content = parquet[which][:length]
    assert decode(file, content) == (content == parquet[which])


@fuzz
@given(
    images=st.lists(
        st.none() | st.fixed_dictionaries({"bytes": st.sampled_from([PNG, PNG[:99], b"", None])}),
        max_size=3,
    ),
    labels=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=3),
    names=st.tuples(*2 * [st.sampled_from(["image", "label", "image.bytes", "img", ""])]),
)
def test_any_rows(file, images, labels, names):
    rows = min(len(images), len(labels))
    images = pa.array(images[:rows], pa.struct({"bytes": pa.binary()}))
    table = pa.Table.from_arrays([images, pa.array(labels[:rows], pa.int64())], names)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    decode(file, buffer.getvalue())


def decode_as_texts(file, content):
    """Return the texts of a file of AG News, or None if it is refused in one sentence."""
    place = file.parents[1] / "ag_news" / "test.parquet"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    try:
        split = load_split("ag_news", "fancyzhx/ag_news", "test", ("text", "label"))
        texts, labels = decode_texts(split, "text"), decode_labels(split, "label", 4)
    except UserInputError as error:
        check_refusal(error, "ag_news", place)
        return None
    assert len(texts) == len(labels) > 0
    assert all(isinstance(text, str) for text in texts)
    return texts


def parquet_of_texts(texts, labels, **options):
    """Rows whose texts are any bytes, said to be UTF-8."""
    table = pa.table({"text": pa.array(texts, pa.binary()).view(pa.string()), "label": labels})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@fuzz
@given(texts=st.lists(st.none() | st.binary() | st.text().map(str.encode), min_size=1, max_size=3))
def test_any_texts(file, texts):
    try:
        expected = tuple(text.decode() for text in texts)
    except (AttributeError, UnicodeDecodeError):
        expected = None
    assert decode_as_texts(file, parquet_of_texts(texts, [3] * len(texts))) == expected


@fuzz
@given(compression=st.sampled_from(["none", "snappy"]), dictionary=st.booleans(), edits=edits)
def test_bytes_of_a_file_of_texts_replaced(file, compression, dictionary, edits):
    texts = ["Grüße".encode(), b"", b"one two", b"one two"]
    options = {"compression": compression, "use_dictionary": dictionary}
    decode_as_texts(file, edited(parquet_of_texts(texts, [0, 1, 2, 3], **options), edits))


@fuzz
@given(
    counts=st.dictionaries(st.sampled_from([0, 35, 36, 45, 46, 61]), st.integers(0, 30)),
    odd=st.integers(0, 61) | st.sampled_from([-1, 62, None]),
    png=st.sampled_from([PNG, PNG, PNG[:99], None]),
)
def test_any_characters(file, counts, odd, png):
    """FEMNIST keeps some rows of a file; the last of these is unlike those before."""
    characters = [character for character, count in counts.items() for _ in range(count)]
    train = file.parents[1] / "femnist" / "train.parquet"
    train.parent.mkdir(exist_ok=True)
    image = pa.array([{"bytes": PNG}] * len(characters) + [{"bytes": png}])
    pq.write_table(pa.table({"image": image, "character": [*characters, odd]}), train)
    try:
        arrays = sys.modules["common.data.femnist"]._decode()
    except UserInputError as error:
        check_refusal(error, "femnist", train)
        return
    for kind in ("train", "test"):
        assert len(arrays[f"x_{kind}"]) == len(arrays[f"y_{kind}"]) > 0
        assert set(arrays[f"y_{kind}"]) <= set(range(10))


@fuzz
@given(which=st.integers(0, 2), edits=edits)
def test_bytes_of_a_streamed_file_replaced(file, parquet, which, edits):
    """Only images may be damaged that are well stored, and they are not looked at."""
    file.write_bytes(edited(parquet[which], edits))
    split = ImageTable(find_parquet("mnist", "mnist", "test"), "image", "label", 10)
    try:
        count = split.count()
        images = list(split.images())
    except UserInputError as error:
        check_refusal(error, "mnist", file)
        return
    assert len(images) == count > 0
    assert all(0 <= image.label <= 9 for image in images)
    assert all(isinstance(image.file, bytes) for image in images)


def encode_as(kind, **options):
    file = io.BytesIO()
    Image.fromarray(IMAGE).convert("RGB").save(file, kind, **options)
    return file.getvalue()


ANY_KIND = {
    "JPEG": encode_as("JPEG"),
    "progressive JPEG": encode_as("JPEG", progressive=True),
    "PNG": encode_as("PNG"),
    "WebP": encode_as("WEBP"),
    "lossless WebP": encode_as("WEBP", lossless=True),
}
TO_20 = EvaluationTransform(resize=24, crop=20)


def pixels_of(content):
    """Return an image, or None if it is refused with the documented exception."""
    try:
        image = decode_image(content, TO_20)
    except CorruptImageError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "\n" not in message
        assert len(message) < 100
        return None
    assert image.shape == (20, 20, 3)
    assert image.dtype == np.uint8
    return image


@fuzz
@given(kind=st.sampled_from(sorted(ANY_KIND)), edits=edits)
@pytest.mark.filterwarnings("ignore")
def test_bytes_of_any_image_replaced(kind, edits):
    pixels_of(edited(ANY_KIND[kind], edits))


@fuzz
@given(kind=st.sampled_from(sorted(ANY_KIND)), length=st.integers(0, 2**16))
@pytest.mark.filterwarnings("ignore")
def test_any_image_cut_off_is_noticed_unless_all_pixels_are_there(kind, length):
    whole = ANY_KIND[kind]
    image = pixels_of(whole[: length % len(whole)])
    assert image is None or np.array_equal(image, pixels_of(whole))


@fuzz
@given(content=st.binary(max_size=200), kind=st.sampled_from(sorted(ANY_KIND)))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_for_an_image(content, kind):
    assert pixels_of(content) is None
    pixels_of(ANY_KIND[kind][:40] + content)


def decoded(png):
    """Return an image, or None if it is refused with the documented exception."""
    try:
        image = decode_png(png, "L", 28, 28)
    except ValueError:
        return None
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    return image


@fuzz
@given(edits=edits)
def test_bytes_of_an_image_replaced_are_noticed(edits):
    png = edited(PNG, edits)
    image = decoded(png)
    assert image is None or np.array_equal(image, IMAGE)


@fuzz
@given(
    chunks=st.lists(
        st.tuples(
            st.sampled_from(CHUNKS),
            st.binary(max_size=40)
            | st.binary(max_size=99).map(zlib.compress)
            | st.just(zlib.compress(bytes(28 * 29))),
        ),
        max_size=5,
    ),
    depth=st.sampled_from([8, 8, 8, 1, 2, 4, 16, 0, 255]),
    colour=st.sampled_from([0, 0, 0, 2, 3, 4, 6, 255]),
    tail=st.binary(min_size=3, max_size=3),
)
def test_any_chunks_with_right_checksums(chunks, depth, colour, tail):
    header = struct.pack(">IIBB", 28, 28, depth, colour) + tail
    chunks = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    decoded(SIGNATURE + b"".join(chunk(name, content) for name, content in chunks))
