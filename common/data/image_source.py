"""What is known of an image data set, and where its splits are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.data.class_folders import ClassFolders
from common.data.image_file import EvaluationTransform
from common.data.image_split import ImageSplit, ImageTable
from common.data.store import HubRows, HubSplit, find, find_parquet


class SplitNames(NamedTuple):
    """What a split is called.

    Attributes:
        hub: On the Hugging Face hub, and so in parquet files.
        class_folders: Where the data set is in class folders; None if it never is.
    """

    hub: str
    class_folders: str | None = None


@dataclass(frozen=True)
class ImageSource:
    """The facts of an image data set.

    Attributes:
        folder: Where below ``$FLOWERBED_DATA`` it is stored.
        repository: Name of the data set on the hub.
        train: The split to train with.
        test: The split to test with.
        image_column: The hub's column of images.
        label_column: The hub's column of labels.
        num_classes: Number of labels.
        crop_ratio: Side of the centre crop over the shorter side of the scaled image.
        config: Which of the hub's configurations of the data set, if it has several.
        hub_files: The hub's files of a split, "{}" in its name's place, if the hub's client would
            otherwise download those of all splits.
        wnids: The class folders that there must be, if they cannot be a part of all.
    """

    folder: str
    repository: str
    train: SplitNames
    test: SplitNames
    image_column: str
    label_column: str
    num_classes: int
    crop_ratio: float = 1.0
    config: str | None = None
    hub_files: str | None = None
    wnids: tuple[str, ...] | None = None

    def transform(self, image_size: int) -> EvaluationTransform:
        """Return the evaluation transform to images of a side of ``image_size`` pixels."""
        return EvaluationTransform(resize=round(image_size / self.crop_ratio), crop=image_size)

    def find(self, dataset: str, splits: Sequence[SplitNames]) -> list[ImageSplit]:
        """Find splits on disk, as parquet files or else in class folders, or else on the hub.

        Args:
            dataset: Value of the key ``dataset``.
            splits: Those that are wanted, ``train`` and ``test`` or one of them.

        Returns:
            A split for each name, in their order.

        Raises:
            UserInputError: They are on disk, but not as they must be.
        """
        tables = [find_parquet(dataset, self.folder, names.hub) for names in splits]
        if not any(tables):
            class_folders = self._find_class_folders(dataset, splits)
            if class_folders:
                return class_folders
        rows = [
            table or HubRows(dataset, self._on_hub(names), self._places(names))
            for table, names in zip(tables, splits, strict=True)
        ]
        return [
            ImageTable(split, self.image_column, self.label_column, self.num_classes)
            for split in rows
        ]

    def _find_class_folders(self, dataset: str, splits: Sequence[SplitNames]) -> list[ImageSplit]:
        """Return all splits if one of them is there, in class folders, and none otherwise."""
        folders = [names.class_folders for names in splits if names.class_folders]
        there = [folder for name in folders if (folder := find(Path(self.folder, name)))]
        if not there:
            return []
        found = [
            ClassFolders(dataset, there[0].parent / name, self.num_classes, self.wnids)
            for name in folders
        ]
        for split in found[1:]:
            split.require_classes_of(found[0])
        return list(found)

    def _on_hub(self, names: SplitNames) -> HubSplit:
        files = self.hub_files and self.hub_files.format(names.hub)
        return HubSplit(self.repository, names.hub, self.config, files)

    def _places(self, names: SplitNames) -> str:
        folder = f"$FLOWERBED_DATA/{self.folder}"
        places = f"at {folder}/{names.hub}.parquet"
        if names.class_folders:
            places += f" or, in class folders, at {folder}/{names.class_folders}"
        return places
