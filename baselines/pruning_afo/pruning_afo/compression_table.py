"""What compressed updates weigh, from a stored measurement: a part of the pages.

``tests/benchmarks/compression_ratio.py`` measures it.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal

from common.analysis.tables import markdown_table

Part = Literal["positions", "payload"]

CHEAPEST: Final = "cheapest"

_SPARSIFIERS: Final = {"top_k": "top-k of each tensor", "global_top_k": "top-k of all tensors"}
_NOT_MEASURED: Final = "Not measured yet: there is no stored result."


@dataclass(frozen=True)
class Weight:
    """What a part of one client's compressed update weighs.

    Attributes:
        round: The round, from 1.
        sparsifier: What chose the entries that are sent.
        density: The share of them.
        part: The positions of all tensors by themselves, or the whole payload.
        form: Of positions, their coding, ``CHEAPEST`` for the cheapest of each tensor; of a
            payload, the quantiser.
        num_bytes: What it weighs.
        bound: Bytes that it weighs at least if positions are as good as random
            (:mod:`common.compression.entropy`).
        dense_bytes: What the whole update weighs in float32.
    """

    round: int
    sparsifier: str
    density: float
    part: Part
    form: str
    num_bytes: int
    bound: float
    dense_bytes: int


def compression_parts(results: Path) -> dict[str, str]:
    """Return the part "compression_ratio" of the pages.

    Args:
        results: The folder of stored results.
    """
    file = results / "compression_ratio.csv"
    return {"compression_ratio": tables(load(file)) if file.exists() else _NOT_MEASURED}


def store(weights: Iterable[Weight], file: Path) -> None:
    """Keep a measurement as CSV."""
    names = [field.name for field in fields(Weight)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(weight) for weight in weights)


def load(file: Path) -> list[Weight]:
    """Return what :func:`store` kept."""
    with file.open(encoding="utf-8", newline="") as stream:
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


def tables(weights: Sequence[Weight]) -> str:
    """Return what positions and what payloads weigh, as two tables in Markdown."""
    positions = [weight for weight in weights if weight.part == "positions"]
    payloads = [weight for weight in weights if weight.part == "payload"]
    return "\n\n".join(
        [
            "Positions of the entries that are sent, in kB by coding, and as a multiple of the "
            "bound for positions that are as good as random, log2 C(n, k) bits for k of a tensor's "
            "n entries; it may be less than 1, for real positions come in clusters:",
            markdown_table(
                ["round", "sent", "bound", *_forms(positions)],
                [
                    [*_name(row[0]), _kilobytes(row[0].bound), *map(_with_quotient, row)]
                    for row in _by_update(positions)
                ],
                left=(0, 1),
            ),
            "Whole payloads, in kB by the form of the values, how many times less that is than the "
            f"{weights[0].dense_bytes / 1e6:.2f} MB of the update in float32, and as a multiple of "
            "the bound for positions and the values in that form:",
            markdown_table(
                ["round", "sent", *(_payload_header(payloads))],
                [
                    [*_name(row[0]), *(cell for weight in row for cell in _payload_cells(weight))]
                    for row in _by_update(payloads)
                ],
                left=(0, 1),
            ),
        ]
    )


def _by_update(weights: Iterable[Weight]) -> list[list[Weight]]:
    """Return the forms of each update."""
    rows: dict[tuple[int, str, float], list[Weight]] = {}
    for weight in weights:
        rows.setdefault((weight.round, weight.sparsifier, weight.density), []).append(weight)
    return list(rows.values())


def _forms(weights: Iterable[Weight]) -> list[str]:
    return list(dict.fromkeys(weight.form for weight in weights))


def _name(weight: Weight) -> tuple[str, str]:
    return str(weight.round), f"{100 * weight.density:g} %, {_SPARSIFIERS[weight.sparsifier]}"


def _payload_header(payloads: Iterable[Weight]) -> list[str]:
    return [cell for form in _forms(payloads) for cell in (form, "times less", "times the bound")]


def _payload_cells(weight: Weight) -> tuple[str, str, str]:
    return (
        _kilobytes(weight.num_bytes),
        f"{weight.dense_bytes / weight.num_bytes:.1f}",
        f"{weight.num_bytes / weight.bound:.3f}",
    )


def _with_quotient(weight: Weight) -> str:
    return f"{_kilobytes(weight.num_bytes)} ({weight.num_bytes / weight.bound:.2f})"


def _kilobytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e3:,.1f}"
