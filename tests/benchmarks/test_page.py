import json
import re
from pathlib import Path

import pytest
from page import PAGE, parts, write_page
from summary import rows, targets

from common.analysis.generated_parts import replace_part

RATES = {
    "logistic_e20": {"loop": 25, "pfl": 26, "flower": 20, "inline": 1500, "ray": 600},
    "nothing": {"flower_idle": 50, "ray": 1000},
    "transport": {"flower_idle": 5, "ray": 10},
}


@pytest.fixture
def results():
    runs = [
        {
            "work": work,
            "system": system,
            "title": system,
            "is_ours": system in ("inline", "ray"),
            "repeat": repeat,
            "clients_per_second": rate * scale,
            "seconds_per_round": 10 / rate / scale,
            "first_round_seconds": 3.0,
            "accuracy": None if work in ("nothing", "transport") else 0.75,
            "relative_difference": 1e-7,
            "foreign_load": 0.02,
            "is_quiet": True,
        }
        for work, rates in RATES.items()
        for system, rate in rates.items()
        for repeat, scale in enumerate((1.0, 0.9, 1.2))
    ]
    return {
        "date": "2026-01-02",
        "quick": False,
        "data": "MNIST",
        "environment": {
            "commit": "0123456789abcdef",
            "packages": {"torch": "2.13.0"},
            "cpus": 2,
            "gpus": [],
            "processor": "a processor",
            "python": "3.11.0",
        },
        "works": {work: {"title": f"title of {work}"} for work in (*RATES, "logistic_e1", "cnn")},
        "runs": runs,
        "sweep": [{"command": "--multirun +a=b c=1", "wall_seconds": 61.0, "engine_shares": [0.7]}],
        "engine_share": [{"command": "c=2", "wall_seconds": 9.0, "engine_shares": [0.1]}],
    }


def test_rows_are_medians_with_their_spread(results):
    row = next(row for row in rows(results, "logistic_e20") if row.system == "ray")

    assert row.clients_per_second == pytest.approx((600, 540, 720))


def test_targets_are_computed_and_those_without_results_left_out(results):
    found = {target.title: target for target in targets(results)}
    met = {title: target.is_met for title, target in found.items()}

    assert len(found) == 6  # Neither of the two of the local step.
    assert [title for title, is_met in met.items() if not is_met] == [
        "round of 10 clients with 44 MB of weights, against Flower's engine",
        "MNIST, figure 7: sweep of 9 runs of 100 rounds, start included",
    ]
    assert any(target.measured.startswith("30.0 x") for target in found.values())


def test_unequal_work_meets_no_target(results):
    for run in results["runs"]:
        run["relative_difference"] = 0.1
    ratios = [target for target in targets(results) if "end to end" in target.title]

    assert ratios
    assert not any(target.is_met for target in ratios)
    assert all("differ" in target.measured for target in ratios)


def test_the_page_is_rewritten_between_its_markers_only(results, tmp_path):
    file, page = tmp_path / "results.json", tmp_path / "performance.md"
    file.write_text(json.dumps(results))
    page.write_text(PAGE.read_text())
    write_page(file, page)
    once = page.read_text()
    write_page(file, page)

    assert page.read_text() == once
    assert "a processor" in once
    assert "| **ray** | 600 (540 to 720) | 24 |" in once
    assert "**no**" in once
    assert (tmp_path / "clients_per_second.png").stat().st_size > 10_000


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="targets"):
        replace_part("no markers", "targets", "text")


def test_the_page_has_a_place_for_every_part(results):
    text = Path(PAGE).read_text()
    places = re.findall(r"<!-- begin: (\w+) -->", text)

    assert sorted(places) == sorted(parts(results))
    assert re.findall(r"<!-- end: (\w+) -->", text) == places
