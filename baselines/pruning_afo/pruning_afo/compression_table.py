"""What compressed updates weigh, from a stored measurement: a part of the pages.

``tests/benchmarks/compression_ratio.py`` measures it.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal, Self

from common.analysis.tables import markdown_table

STORED: Final = Path(__file__).parents[1] / "results" / "compression_ratio.csv"

Part = Literal["positions", "payload"]

_SPARSIFIERS: Final = {"top_k": "top-k of each tensor", "global_top_k": "top-k of all"}
_NOT_MEASURED: Final = "Not measured yet: there is no stored result."


@dataclass(frozen=True)
class Weight:
    """What a part of one client's compressed update weighs.

    Attributes:
        round: The round, from 1.
        sparsifier: What chose the entries that are sent.
        density: The share of them.
        part: The positions of all tensors by themselves, or the whole payload.
        form: Of positions, their coding, ``cheapest`` for that of each tensor; of a payload, the
            quantiser.
        num_bytes: What it weighs.
        bound: Bytes that it weighs at least if all positions are equally likely
            (:mod:`common.compression.entropy`).
        dense_bytes: What the update weighs in float32.
    """

    round: int
    sparsifier: str
    density: float
    part: Part
    form: str
    num_bytes: int
    bound: float
    dense_bytes: int

    @property
    def update(self) -> tuple[int, str, float]:
        """What was sent, in whatever form."""
        return self.round, self.sparsifier, self.density

    @classmethod
    def of(cls, row: dict[str, str]) -> Self:
        """Read a row of the stored file."""
        return cls(**{field.name: field.type(row[field.name]) for field in fields(cls)})


def store(weights: Iterable[Weight], file: Path) -> None:
    """Keep a measurement as CSV."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(
            stream, [field.name for field in fields(Weight)], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(asdict(weight) for weight in weights)


def load(file: Path) -> list[Weight]:
    """Read what :func:`store` kept."""
    with file.open(newline="") as stream:
        return [
            Weight(
                round=int(row["round"]),
                sparsifier=row["sparsifier"],
                density=float(row["density"]),
                part="positions" if row["part"] == "positions" else "payload",
                form=row["form"],
                num_bytes=int(row["num_bytes"]),
                bound=float(row["bound"]),
                dense_bytes=int(row["dense_bytes"]),
            )
            for row in csv.DictReader(stream)
        ]
