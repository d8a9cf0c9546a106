import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest

from common.analysis.curves import plot_panels
from common.analysis.runs import Run


def run(accuracies, seed=0):
    rounds = [{"round": i, "test_accuracy": value} for i, value in enumerate(accuracies, 1)]
    return Run({"seed": seed}, rounds, {}, Path("run"))


@pytest.fixture
def svg(tmp_path):
    path = tmp_path / "figure.svg"
    panels = {
        "0 % stragglers": {"FedAvg": [run([0.1, 0.2])], "FedProx": [run([0.3, 0.4])]},
        "90 % stragglers": {"FedProx": [run([0.3, 0.4], 0), run([0.5, 0.6, 0.7], 1)]},
    }
    before = dict(mpl.rcParams)
    plot_panels(panels, "test_accuracy", "test accuracy", path)
    assert dict(mpl.rcParams) == before, "the style stays inside"
    return ET.parse(path).getroot()


def test_text_stays_text_and_names_panels_axes_and_arms(svg):
    texts = {"".join(node.itertext()) for node in svg.iter() if node.tag.endswith("}text")}
    assert {"0 % stragglers", "90 % stragglers", "round", "test accuracy"} <= texts
    assert {"FedAvg", "FedProx"} <= texts


def test_an_arm_with_several_runs_has_a_band(svg):
    ids = [node.get("id") or "" for node in svg.iter()]
    assert sum(id_.startswith("FillBetweenPolyCollection") for id_ in ids) == 1


def test_png(tmp_path):
    plot_panels({"": {"a": [run([0.1])]}}, "test_accuracy", "y", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
