"""The earlier study in the paper: what it did, beside what the stored runs did, and its numbers."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from common.analysis.results import Results
from common.experiment.config import flatten, read_default_config
from distilbert_failures.compared_keys import DistilBertArmKeys, DistilBertPanelKeys
from distilbert_failures.paper_latex import floating, tabular
from distilbert_failures.replication import REPLICATION

# The rows of the table of protocols: what a key is called.
_ROWS: Final = {
    "encoder": "encoder",
    "trainable": "trained layers",
    "num_train_texts": "training texts",
    "num_test_texts": "test texts",
    "max_length": "tokens of a text, at most",
    "num_clients": "clients, all in each round (K)",
    "num_rounds": "rounds",
    "num_epochs": "local epochs (E)",
    "batch_size": "batch size (B)",
    "optimizer": "local optimizer",
    "learning_rate": "learning rate (η)",
    "weight_decay": "weight decay",
    "dirichlet_alpha": "concentration (α), where not IID",
    "mu": "proximal term (μ); 0 is FedAvg",
    "precision": "precision",
    "seed": "seeds",
}
# Where the study's published runs are not what the defaults of the configuration are.
_PUBLISHED: Final = {
    "num_clients": "5, 10",
    "num_test_texts": "500",
    "num_rounds": "50; 10 for failure modes",
    "learning_rate": "2e-05, 1e-03",
    "dirichlet_alpha": "0.01, 0.1",
    "mu": "0, 0.1",
    "seed": "42; one partition",
}
_HAVE_PUBLISHED: Final = ("main", "failure")


def protocol_table(stored: Mapping[str, Results]) -> str:
    """Return the table of protocols: a column for the study, one for each stored experiment.

    Args:
        stored: Results by the name of their experiment.
    """
    defaults = _defaults()
    columns = {"": [*_ROWS.values()]}
    columns["study"] = [_PUBLISHED.get(key) or _told(key, [defaults[key]]) for key in _ROWS]
    for experiment, results in stored.items():
        runs = results.runs
        columns[f"`{experiment}`"] = [_told(key, sorted(set(runs[key].tolist()))) for key in _ROWS]
    body = tabular("l" * len(columns), [*columns], [*zip(*columns.values(), strict=True)])
    caption = "Protocol of the study, and of the runs that are stored, by experiment."
    return floating("table*", f"\\footnotesize\n{body}", caption, "tab:protocol")


def published_table() -> str:
    """Return the table of the study's numbers; a sentence if there are none in ../published.

    Of each arm it has the last round, and that in which others end. Dividing the divergence by the
    learning rate tells what of it is the length of a step.
    """
    rows = _published_rows()
    if not rows:
        return "Its numbers are not stored."
    panels = [DistilBertPanelKeys.model_validate(row) for row in rows]
    facts = [panel.facts for panel in panels]
    differ = [len({*column}) > 1 for column in zip(*facts, strict=True)]
    cells = [
        [
            ", ".join(fact for fact, shown in zip(panel.facts, differ, strict=True) if shown),
            DistilBertArmKeys.model_validate(row).name,
            f"{row['round']}",
            f"{100 * row['test_accuracy']:.1f}",
            _number(row["divergence"], ".2f"),
            _number(row["divergence"] / panel.learning_rate, ",.0f"),
        ]
        for panel, row in zip(panels, rows, strict=True)
    ]
    header = ["condition", "method", "round", "accuracy (%)", "divergence", "divergence / η"]
    body = tabular("llrrrr", header, cells)
    caption = "What the study published: one run of each arm, 500 test texts."
    return floating("table*", f"\\footnotesize\n{body}", caption, "tab:published")


def _published_rows() -> list[dict[str, Any]]:
    files = [REPLICATION.published / f"{name}.csv" for name in _HAVE_PUBLISHED]
    tables = [pd.read_csv(file) for file in files if file.exists()]
    ends = {int(table["round"].max()) for table in tables}
    defaults = _defaults() | {"divergence": float("nan")}
    return [
        defaults | row
        for table in tables
        for row in table[table["round"].isin(ends)].to_dict("records")
    ]


def _defaults() -> dict[str, Any]:
    return flatten(read_default_config(REPLICATION.folder / "pyproject.toml"))


def _told(key: str, values: list[Any]) -> str:
    if key.endswith("_texts"):
        values = [value or "all" for value in values]
    return ", ".join(f"{v:.12g}" if isinstance(v, float) else str(v) for v in values)


def _number(value: float, digits: str) -> str:
    return "" if pd.isna(value) else f"{value:{digits}}"
