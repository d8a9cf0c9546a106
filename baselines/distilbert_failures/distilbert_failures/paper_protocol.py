"""The earlier study in the paper: what it did, beside what the stored runs did, and its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.analysis.claims import Claim
from common.analysis.quantities import Contrasts
from common.analysis.results import Results
from common.experiment.config import Scalar, flatten, read_default_config
from common.replication.metrics import TEST_ACCURACY
from distilbert_failures.compared_keys import DistilBertArmKeys, DistilBertPanelKeys
from distilbert_failures.paper_comparison import DIVERGENCE
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
    "learning_rate": "2e-05, 1e-3",
    "dirichlet_alpha": "0.01, 0.1",
    "mu": "0, 0.1",
    "seed": "42; one partition",
}
# The experiments that its numbers are of.
_MODES: Final = ("main", "failure")


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


def published_table(claims: Sequence[Claim]) -> str:
    """Return the table of the study's own numbers: those that claims on its modes refer to.

    Dividing a divergence by the learning rate tells what of it is the length of a step.

    Args:
        claims: All of the baseline's.
    """
    published = _published(claims)
    panels = [DistilBertPanelKeys.model_validate(keys) for keys, _ in published]
    differ = [len({*facts}) > 1 for facts in zip(*(panel.facts for panel in panels), strict=True)]
    rows = [
        [
            ", ".join(fact for fact, shown in zip(panel.facts, differ, strict=True) if shown),
            DistilBertArmKeys.model_validate(keys).name,
            f"{100 * numbers[TEST_ACCURACY.name]:.1f}",
            f"{numbers[DIVERGENCE.name]:.2f}",
            f"{numbers[DIVERGENCE.name] / panel.learning_rate:,.0f}",
        ]
        for panel, (keys, numbers) in zip(panels, published, strict=True)
    ]
    header = ["condition", "method", "accuracy (%)", "divergence", "divergence / η"]
    caption = "What the study published: one run of each arm, on one partition."
    body = tabular("llrrr", header, rows)
    return floating("table*", f"\\footnotesize\n{body}", caption, "tab:published")


def _published(claims: Sequence[Claim]) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Return the configuration of every arm that the study has numbers of, and these by metric."""
    arms: dict[tuple[tuple[str, Scalar], ...], dict[str, float]] = {}
    for claim in claims:
        (first, *others) = claim.quantity.contrasts
        is_cell = first.experiment in _MODES and first.minus is None and not others
        if is_cell and claim.reference is not None and isinstance(claim.quantity, Contrasts):
            numbers = arms.setdefault(tuple(sorted(first.arm.items())), {})
            numbers[claim.quantity.metric] = claim.reference
    both = {TEST_ACCURACY.name, DIVERGENCE.name}
    return [(_defaults() | dict(keys), n) for keys, n in arms.items() if both <= n.keys()]


def _defaults() -> dict[str, Any]:
    return flatten(read_default_config(REPLICATION.folder / "pyproject.toml"))


def _told(key: str, values: list[Any]) -> str:
    if key.endswith("_texts"):
        values = [value or "all" for value in values]
    return ", ".join(f"{v:.12g}" if isinstance(v, float) else str(v) for v in values)
