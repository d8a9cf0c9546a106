"""The page that the report leaves: whole in itself, and everything from runs is text."""

import re
from dataclasses import replace
from functools import partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import write_run
from no_figures import draw_nothing
from toy_replication import AVG, lay_out, make_run

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.replication import report
from common.replication.comparison import compare
from common.replication.definition import MoreFigure
from common.replication.drawing import draw

# Of HTML, elements without an end.
VOID = {"meta", "link", "img", "br", "hr", "input", "base", "source"}
LEADS_OUT = re.compile(r"url\(\s*['\"]?(?!#)|@import", re.IGNORECASE)


class Page(HTMLParser):
    """Elements in order, what text each has, and its tables."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.elements = []
        self.texts = []
        self.tables = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "th" in self.open or "td" in self.open:
            self.tables[-1][-1][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    return lay_out(tmp_path / "repository", monkeypatch)


def report_on(toy, *folders, experiment="first", changed=()):
    """Return the page, as text and parsed."""
    report.report_runs(toy, folders, folders[0], experiment, changed)
    text = (folders[0] / f"{experiment}.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def page(toy, monkeypatch):
    """Report on the runs in or below some folders, without figures, which take seconds."""
    monkeypatch.setattr(report, "draw", draw_nothing)
    return partial(report_on, toy)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a sweep, with its figures."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        toy = lay_out(folder / "repository", patch)
        toy = replace(toy, more_figures=lambda panels, figure: [MoreFigure("again", "It", again)])

        def again(path):
            draw(toy, compare(toy, load_results(folder / "sweep")), "second", path)

        return report_on(toy, write_sweep(folder / "sweep"))


def load_results(folder):
    return Results.of(load_runs([folder]))


def write_sweep(folder, **changed):
    """Two arms of two seeds, whose training loss is known, too."""
    runs = [
        make_run((0.25, 0.5), metrics={"train_loss": (2.0, 1.0)}, seed=seed, **keys, **changed)
        for keys in (AVG, {"mu": 1.0})
        for seed in (0, 1)
    ]
    for number, run in enumerate(runs):
        write_run(folder / str(number), run)
    return folder


def test_the_page_has_question_cost_figures_and_tables(whole):
    text, made = whole
    assert text.count("<h1>The first figure</h1>") == 1
    assert "<p>Which is better?</p>" in text
    assert (
        "<p><em>4 runs take 4 min 4 s one after another (a processor, 2 cores, "
        "<code>engine=inline</code>), at commit <code>0123456</code>.</em></p>"
    ) in text
    assert [(figure["role"], figure["aria-label"]) for figure in made.named("svg")] == [
        ("img", "Learning curves"),
        ("img", "It"),
    ]
    # They have text.
    assert {"FedAvg", "round", "The first figure", "The second figure"} <= set(made.texts)
    accuracy, points, loss, _, _ = made.tables
    assert accuracy == [
        ["test accuracy (%)", "Hills"],
        ["FedAvg", "37.5 ± 0.0"],
        ["FedProx, μ = 1", "37.5 ± 0.0"],
    ]
    assert points[1:] == [["FedAvg", "0"], ["FedProx, μ = 1", "+0.0 ± 0.0"]]
    assert loss[0] == ["training loss (nats)", "Hills"]


def test_the_page_tells_what_published_curves_are_and_where_to_read_whose(toy, tmp_path, page):
    sweep = write_sweep(tmp_path / "sweep")
    told = (
        "A dotted curve is not of these runs: others published it, for the arm whose colour it "
        "has; <code>published/README.md</code> of the baseline toy says who."
    )
    assert "dotted" not in page(sweep)[0]
    toy.published.mkdir()
    (toy.published / "first.csv").write_text("mu,round,test_accuracy\n1.0,1,0.5\n")
    assert told in page(sweep)[0]
    assert "dotted" not in page(sweep, experiment="second")[0]
    assert "dotted" not in page(sweep, changed=["num_rounds=2"])[0]


def test_all_but_the_main_tables_are_folded(tmp_path, page):
    text, _ = page(write_sweep(tmp_path / "sweep"))
    folded = text.partition("<details>")[2].partition("</details>")[0]
    assert "<summary>Another table: training loss (nats)</summary>" in folded
    assert folded.count("<table>") == 1
    assert text.count("<table>") == 5


def test_the_page_tells_which_keys_differ_from_the_defaults(tmp_path, page):
    """By default they are those of prox, with the seed 0."""
    _, made = page(write_sweep(tmp_path / "sweep", num_epochs=5, alpha=0.25))
    assert made.tables[-2] == [
        ["key", "default", "in these runs"],
        ["algorithm", "prox", "avg, prox"],
        ["alpha", "0.5", "0.25"],
        ["mu", "1", "0, 1"],
        ["num_epochs", "2", "5"],
        ["seed", "0", "0, 1"],
    ]


def test_many_values_of_a_key_are_counted(tmp_path, page):
    for seed in range(15):
        write_run(tmp_path / "sweep" / str(seed), make_run(seed=seed))
    _, made = page(tmp_path / "sweep")
    assert made.tables[-2][1:] == [["seed", "0", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"]]


def test_every_run_is_named_with_what_it_reached(tmp_path, page):
    for number, keys in ((2, {"alpha": 0.25}), (10, AVG)):
        run = make_run((0.25, 0.123456), **keys)
        run.summary["model_sha256"] = "0123456789abcdef"
        write_run(tmp_path / "sweep" / str(number), run)
    unknown = make_run((0.5, None), seed=3, num_rounds=4)
    unknown.summary.update(seconds=None, stopped="It failed.")
    write_run(tmp_path / "other", unknown)
    _, made = page(tmp_path / "sweep", tmp_path / "other")
    above = tmp_path.name
    assert made.tables[-1] == [
        ["run", "panel", "arm", "seed", "rounds", "accuracy (%)", "sha256", "seconds"],
        [f"{above}/other", "alpha = 0.5", "FedProx, μ = 1", "3", "2, stopped", "?", "?", "?"],
        *(
            [f"{above}/sweep/{number}", panel, arm, "0", "2", "12.35", "0123456789ab", "61.0"]
            for number, panel, arm in (
                ("2", "alpha = 0.25", "FedProx, μ = 1"),
                ("10", "alpha = 0.5", "FedAvg"),
            )
        ),
    ]


def test_runs_that_have_not_ended_are_named(tmp_path, page):
    write_sweep(tmp_path / "sweep")
    assert "Left out" not in page(tmp_path / "sweep")[0]
    (tmp_path / "sweep" / "1" / "summary.json").unlink()
    text, made = page(tmp_path / "sweep")
    assert ">Left out, for they have not ended: sweep/1.</p>" in text
    assert [row[0] for row in made.tables[-1][1:]] == ["sweep/0", "sweep/2", "sweep/3"]


def test_the_heading_tells_what_was_changed_or_else_the_package(tmp_path, page):
    sweep = write_sweep(tmp_path / "sweep")
    text, _ = page(sweep, changed=["num_rounds=2"])
    assert "<title>The first figure, but num_rounds=2</title>" in text
    text, _ = page(sweep, experiment="figure")
    assert "<h1>toy</h1>\n<p><em>4 runs" in text


def test_the_page_asks_for_nothing_and_names_nothing_twice(whole):
    text, made = whole
    references = [
        value
        for _, attributes in made.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    ]
    assert references  # The figure's markers, say.
    assert [value for value in references if not value.startswith("#")] == []
    assert not LEADS_OUT.search(text)
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(
        tag for tag, _ in made.elements
    )
    ids = [attributes["id"] for _, attributes in made.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references} <= set(ids)
    (policy,) = [m["content"] for m in made.named("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; ")


def test_what_runs_say_is_text_whatever_it_is(tmp_path, page):
    name = "<script>alert(1) & 'x'"
    sweep = write_sweep(tmp_path / name, ray_note='<img src="http://example.org/a.png">')
    for run in sweep.iterdir():
        (run / "environment.json").write_text(
            '{"processor": "![a](http://example.org/a.png) <b>*x*</b> `y`", "cpus": 1}'
        )
    text, made = page(sweep, changed=["mu=<svg onload=alert(1)>"])
    assert {"script", "img", "b"}.isdisjoint(tag for tag, _ in made.elements)
    assert not [a for _, attributes in made.elements for a in attributes if a.startswith("on")]
    assert made.tables[-1][1][0] == f"{name}/0"
    assert ["ray_note", "?", '<img src="http://example.org/a.png">'] in made.tables[-2]
    assert "(![a](http://example.org/a.png) <b>*x*</b> `y`, 1 core, " in unescape(text)
    assert "<title>The first figure, but mu=&lt;svg onload=alert(1)&gt;</title>" in text


def test_the_page_follows_light_and_dark_and_fits_a_phone(whole):
    text, made = whole
    assert "@media (prefers-color-scheme: dark)" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in made.named(
        "meta"
    )
    classes = [attributes.get("class") for attributes in made.named("div")]
    assert classes == ["figure-scroll"] * 2 + ["scroll"] * len(made.tables)


def test_the_same_runs_give_the_same_page(tmp_path, page):
    sweep = write_sweep(tmp_path / "sweep")
    assert page(sweep)[0] == page(sweep)[0]


def test_a_name_that_is_no_unicode_can_be_written(tmp_path, page):
    write_run(tmp_path / "run-\udcff", make_run())
    _, made = page(Path(tmp_path / "run-\udcff"))
    assert made.tables[-1][1][0] == "run-?"
