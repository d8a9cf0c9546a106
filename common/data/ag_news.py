"""AG News (Zhang et al. 2015, arXiv 1509.01626, section 4): news of four topics.

Titles and descriptions, 30,000 to train with and 1,900 to test with of each topic.
"""

from common.data.columns import decode_labels, decode_texts
from common.data.store import fingerprint, load_split
from common.data.texts import TextDataset

SPLITS = ("train", "test")
CLASS_NAMES = ("world", "sports", "business", "sci_tech")

# Part of the fingerprint: to be counted up when the same files are decoded to something else.
_DECODING = 1


def ag_news() -> TextDataset:
    """Load AG News from ``$FLOWERBED_DATA/ag_news`` or the hub.

    Returns:
        120,000 and 7,600 texts, or as many as the files have, and their labels int64, four classes.

    Raises:
        UserInputError: It is neither on disk nor reachable, or damaged, or not AG News.
    """
    # Asked before they are read: should files change meanwhile, no later run has this fingerprint.
    source = f"ag_news-{_DECODING}-{fingerprint('ag_news', SPLITS)}"
    train, test = (
        load_split("ag_news", "fancyzhx/ag_news", name, ("text", "label")) for name in SPLITS
    )
    return TextDataset(
        x_train=decode_texts(train, "text"),
        y_train=decode_labels(train, "label", len(CLASS_NAMES)),
        x_test=decode_texts(test, "text"),
        y_test=decode_labels(test, "label", len(CLASS_NAMES)),
        class_names=CLASS_NAMES,
        fingerprint=source,
    )
