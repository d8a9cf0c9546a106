"""Links of a README, as a page elsewhere has to write them."""

from pathlib import Path

import pytest
from flowerbed_site.links import rewrite_links

ROOT = Path(__file__).parents[3]
README = ROOT / "baselines" / "fedprox" / "README.md"
RUNNING = ROOT / "docs" / "running"
PAGES = {README: RUNNING / "fedprox.md", ROOT / "README.md": ROOT / "docs" / "index.md"}


def rewritten(text, source=README.parent):
    return rewrite_links(text, source, RUNNING, PAGES, ROOT / "docs")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[keys](pyproject.toml)", "[keys](../../baselines/fedprox/pyproject.toml)"),
        ("![a](results/figure2.png)", "![a](../../baselines/fedprox/results/figure2.png)"),
        ("[page](../../docs/fedprox.md#figure2)", "[page](../fedprox.md#figure2)"),
        ("[top](../../README.md)", "[top](../index.md)"),
        ("[this](README.md#about)", "[this](fedprox.md#about)"),
        ("[x](published/README.md)", "[x](path:../../baselines/fedprox/published/README.md)"),
    ],
)
def test_a_link_leads_where_it_led(written, expected):
    assert rewritten(written) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[paper](https://arxiv.org/abs/1812.06127)",
        "[below](#results)",
        "```bash\ncat [x](pyproject.toml)\n```",
    ],
)
def test_what_is_no_link_to_a_file_stays(text):
    assert rewritten(text) == text


def test_a_link_to_a_folder_becomes_its_text():
    assert rewritten("in [`results/`](results)") == "in `results/`"


def test_links_on_both_sides_of_code():
    text = "[a](claims.yaml)\n\n```text\n[b](claims.yaml)\n```\n\n[c](claims.yaml)"
    link = "(../../baselines/fedprox/claims.yaml)"
    assert rewritten(text) == f"[a]{link}\n\n```text\n[b](claims.yaml)\n```\n\n[c]{link}"
