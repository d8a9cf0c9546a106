"""Runs -> the arms of a comparison, in panels as the paper's figures have them."""

from collections.abc import Sequence

from common.analysis.results import Results
from common.errors import UserInputError
from fedprox.compared_keys import ArmKeys, PanelKeys

# More panels beside each other than can be read, and than a picture can be wide.
MOST_PANELS = 20
# Title of a panel -> name of an arm -> its runs, which differ in seed.
Panels = dict[str, dict[str, Results]]


def compare(results: Results) -> Panels:
    """Group runs into panels by data and stragglers, and within a panel into arms by method.

    Raises:
        UserInputError: Runs of an arm differ in more than the seed, two arms or panels have the
            same name, or there are too many panels.
    """
    rows = _plain_rows(results)
    found = {(PanelKeys.model_validate(row), ArmKeys.model_validate(row)) for row in rows}
    panels = sorted({panel for panel, _ in found}, key=lambda panel: panel.order)
    if len(panels) > MOST_PANELS:
        raise UserInputError(
            f"RUNS hold {len(panels)} settings of {', '.join(PanelKeys.model_fields)}: there must "
            f"be at most {MOST_PANELS}, which have a panel each."
        )
    compared: Panels = {}
    titles = _titles(panels)
    _require_names(titles, panels)
    for title, panel in zip(titles, panels, strict=True):
        arms = sorted((a for p, a in found if p == panel), key=lambda arm: arm.order)
        _require_names([arm.name for arm in arms], arms)
        compared[title] = {
            arm.name: results.arm(panel.model_dump() | arm.model_dump()) for arm in arms
        }
    return compared


def _require_names(names: Sequence[str], settings: Sequence[PanelKeys | ArmKeys]) -> None:
    """Refuse settings of the same name, such as FedAvg with several mu, which it has no use for."""
    met: dict[str, PanelKeys | ArmKeys] = {}
    for name, setting in zip(names, settings, strict=True):
        other = met.setdefault(name, setting)
        differ = [key for key, value in setting if value != getattr(other, key)]
        if differ:
            raise UserInputError(
                f"RUNS hold {name!r} with several values of {', '.join(differ)}: there must be "
                "one, for a figure cannot tell them apart."
            )


def _plain_rows(results: Results) -> list[dict[str, object]]:
    """Return the compared keys of every run, as Python's own types."""
    keys = [*PanelKeys.model_fields, *ArmKeys.model_fields]
    columns = {key: results.runs[key].tolist() for key in keys}
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _titles(panels: list[PanelKeys]) -> list[str]:
    """Tell of each panel what the panels differ in; of a single one, data and stragglers."""
    facts = [panel.facts for panel in panels]
    differ = [len(set(column)) > 1 for column in zip(*facts, strict=True)]
    if not any(differ):
        differ = [True, True, False, False]
    return [
        ", ".join(fact for fact, shown in zip(row, differ, strict=True) if shown) for row in facts
    ]
