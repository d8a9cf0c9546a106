"""Values in messages: in full if they are short, and never longer than a line."""

import reprlib
from typing import Final

_MAX_LENGTH: Final = 300
_MAX_DIGITS: Final = 40


class _Repr(reprlib.Repr):
    """Looks at the beginning of a value only, however large or nested it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _MAX_LENGTH
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write the digits of a very large one.
        return str(x) if abs(x) < 10**_MAX_DIGITS else "<a huge integer>"


_REPR = _Repr()


def shown(value: object) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = _REPR.repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def shown_key(key: str) -> str:
    """Return a key as it is, unless it would not fit into a line."""
    return key if key.isprintable() and len(key) < 100 else shown(key)
