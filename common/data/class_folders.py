"""Images in folders, one folder a class: torchvision's layout (``datasets.ImageFolder``)."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from common.data.image_split import EncodedImage
from common.data.parquet import reason
from common.data.store import refused
from common.errors import UserInputError

_WNID: Final = re.compile(r"n\d{8}", re.ASCII)
_ENDINGS: Final = (".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True)
class ClassFolders:
    """One split of a data set, ``<folder>/<wnid>/*.JPEG``.

    A label is the position of its class folder in sorted order. Below a class folder all files
    count that have an ending of JPEG, PNG or WebP, as in torchvision.

    Attributes:
        dataset: Value of the key ``dataset``.
        folder: The split's.
        most_classes: How many class folders there may be.
        wnids: The class folders that there must be, if any others have other labels.
    """

    dataset: str
    folder: Path
    most_classes: int
    wnids: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Number of class folders."""
        return len(self.classes)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the class folders, sorted.

        Raises:
            UserInputError: There are none, or others than may be there.
        """
        try:
            classes = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())
        except OSError as error:
            raise self._refused(f"must be a folder that can be read ({reason(error)})") from None
        if not classes:
            raise self._refused("must hold one folder a class, and holds none")
        for name in classes:
            if not _WNID.fullmatch(name):
                raise self._refused(
                    "must hold class folders with WordNet ids, n and 8 digits, for names, unlike "
                    f"{name!r}"
                )
        if self.wnids is not None:
            self._require(classes, self.wnids, repr(self.dataset))
        if len(classes) > self.most_classes:
            raise self._refused(
                f"must hold at most {self.most_classes} class folders, and holds {len(classes)}"
            )
        return classes

    def require_classes_of(self, other: "ClassFolders") -> None:
        """Check that a label means the same in two splits.

        Raises:
            UserInputError: They have other class folders.
        """
        self._require(self.classes, other.classes, repr(str(other.folder)))

    @property
    def fingerprint(self) -> str:
        """Names, sizes and times of change of all files, hashed.

        Raises:
            UserInputError: The class folders are not as they must be, or one has no image.
        """
        digest = hashlib.sha256()
        for _, path in self._files():
            try:
                status = path.stat()
                state = f"{status.st_size}:{status.st_mtime_ns}"
            except OSError as error:  # Whether that matters is decided when it is decoded.
                state = reason(error)
            digest.update(os.fsencode(f"{self._name(path)}\0{state}\0"))
        return digest.hexdigest()[:16]

    def count(self) -> int:
        """Return the number of images."""
        return sum(1 for _ in self._files())

    def images(self) -> Iterator[EncodedImage]:
        """Yield all images, class by class."""
        for label, path in self._files():
            yield EncodedImage(label, repr(f"{self.folder.name}/{self._name(path)}"), path)

    def _files(self) -> Iterator[tuple[int, Path]]:
        """Yield the label and the path of every image, sorted."""
        for label, name in enumerate(self.classes):
            empty = True
            for folder, folders, files in os.walk(self.folder / name):
                folders.sort()
                for file in sorted(files):
                    if file.lower().endswith(_ENDINGS):
                        yield label, Path(folder, file)
                        empty = False
            if empty:
                raise refused(
                    self.dataset,
                    str(self.folder / name),
                    f"must hold at least one image ({', '.join(_ENDINGS)})",
                )

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self.folder)) + 1 :]

    def _require(self, classes: Sequence[str], wanted: Sequence[str], whose: str) -> None:
        if set(classes) != set(wanted):
            name = min(set(classes) ^ set(wanted))
            wrong = "is another" if name in classes else "is missing"
            raise self._refused(
                f"must hold the class folders of {whose} and no others: {name!r} {wrong}"
            )

    def _refused(self, rule: str) -> UserInputError:
        return refused(self.dataset, str(self.folder), rule)
