"""What there is to compare: title and question of each file of conf/experiment that is a sweep."""

from typing import Final

from common.replication.definition import FigureOf

FIGURES: Final = {
    "first": FigureOf("Local epochs on Synthetic(1, 1)", "Do five local epochs do better than one?")
}
