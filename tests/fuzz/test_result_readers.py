"""Whatever a run directory holds, it is reported on, or refused in one sentence.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries; less of those that cost more.
"""

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout

import fedprox_runs
import numpy as np
import pytest
import yaml
from fedprox.replication import REPLICATION
from hypothesis import given, settings
from hypothesis import strategies as st
from no_figures import draw_nothing

from common.analysis.curves import Panel, plot_panels
from common.analysis.runs import load_runs
from common.replication import report

CONFIG = fedprox_runs.CONFIG | {
    "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
    "client_timeout": math.inf,
}
ROUNDS = [
    {
        "round": i,
        "test_accuracy": 0.5,
        "test_loss": None,
        "train_loss": 1 / i,
        "mu": 1.0,
        "clients": [3, 1],
    }
    for i in range(1, 5)
]
SUMMARY = {"test_accuracy": 0.5, "rounds": 4, "model_sha256": "ab", "complete": True}
ENVIRONMENT = {"commit": "ab", "processor": "a processor", "cpus": 2, "resumed": []}
FILES = {
    "config.yaml": yaml.safe_dump(CONFIG).encode(),
    "rounds.jsonl": "".join(json.dumps(line) + "\n" for line in ROUNDS).encode(),
    "summary.json": json.dumps(SUMMARY).encode(),
    "environment.json": json.dumps(ENVIRONMENT).encode(),
}
TAGS = [
    *("int", "float", "bool", "null", "str", "timestamp", "binary", "set", "omap", "pairs", "seq"),
    *("map", "merge", "value", "python/name:os.system", "python/object/apply:os.system"),
]

fuzz = settings.get_profile("fuzz")
# Most of these runs are reported on, which takes twenty times as long as to refuse one.
reported = settings(fuzz, max_examples=max(1, fuzz.max_examples // 6))
drawn = settings(fuzz, max_examples=max(1, fuzz.max_examples // 30))
file_names = st.sampled_from(sorted(FILES))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 10**400, -(10**400), 2**63, 1e308, -1e308, 5e-324, -0.0])
    | st.floats()
    | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    """What is drawn is tried below: it takes a hundred times as long as the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", draw_nothing)
        yield


def read(folder, **changed):
    """Report on a run of which some files are changed; refused is one sentence, or it goes well."""
    for name, content in FILES.items():
        (folder / name).write_bytes(changed.get(name, content))
    said, refused = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(refused):
        code = report.main(REPLICATION, [str(folder)])
    said.getvalue().encode()  # It can be printed.
    message = refused.getvalue()
    message.encode()
    if code == 0:
        assert message == ""
        return
    assert code == 2
    assert message.endswith(".\n")
    assert message.count("\n") == 1
    assert str(folder) in message
    assert len(message) < 600 + len(str(folder))


def test_these_files_are_read(folder):
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (run,) = load_runs([folder])
    assert (run.config, run.rounds, run.summary) == (CONFIG, ROUNDS, SUMMARY)
    assert report.main(REPLICATION, [str(folder)]) == 0


@fuzz
@given(name=file_names, content=st.binary(max_size=300))
def test_any_bytes(folder, name, content):
    read(folder, **{name: content})


@fuzz
@given(
    name=file_names,
    content=st.text(alphabet="{}[]:,-?&*!<|>'\"#%@\n \t\\0159aeEx.nul~_", max_size=60),
)
def test_any_text_of_the_syntax(folder, name, content):
    read(folder, **{name: content.encode()})


@fuzz
@given(
    tag=st.sampled_from(TAGS),
    value=st.text(alphabet="0159:-.eExb_ \t~'[]{},TZ+", max_size=12),
)
def test_any_yaml_tag(folder, tag, value):
    read(folder, **{"config.yaml": f"seed: !!{tag} {value}\n".encode()})


@fuzz
@given(
    name=file_names,
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=4),
)
def test_bytes_replaced(folder, name, edits):
    content = bytearray(FILES[name])
    for position, replacement in edits:
        content[position : position + 1] = replacement
    read(folder, **{name: bytes(content)})


@reported
@given(name=file_names, length=st.integers(0, 500))
def test_cut_off(folder, name, length):
    read(folder, **{name: FILES[name][:length]})


@reported
@given(order=st.lists(st.integers(0, 3), max_size=6), line=st.none() | st.binary(max_size=20))
def test_lines_dropped_doubled_and_replaced(folder, order, line):
    lines = [json.dumps(ROUNDS[i]).encode() for i in order]
    lines += [] if line is None else [line]
    read(folder, **{"rounds.jsonl": b"\n".join(lines) + b"\n"})


@reported
@given(row=st.integers(0, 3), key=st.sampled_from([*ROUNDS[0], "other"]), value=values)
def test_any_value_in_a_round(folder, row, key, value):
    changed = [line | {key: value} if i == row else line for i, line in enumerate(ROUNDS)]
    # json writes NaN and Infinity, which are no JSON.
    read(
        folder,
        **{"rounds.jsonl": "\n".join(map(json.dumps, changed)).encode("utf-8", "surrogatepass")},
    )


@reported
@given(key=st.sampled_from([*SUMMARY, "other"]), value=values)
def test_any_value_in_the_summary(folder, key, value):
    read(folder, **{"summary.json": json.dumps(SUMMARY | {key: value}).encode()})


@reported
@given(key=st.sampled_from([*ENVIRONMENT, "other"]), value=values)
def test_any_value_in_the_environment(folder, key, value):
    read(folder, **{"environment.json": json.dumps(ENVIRONMENT | {key: value}).encode()})


@reported
@given(key=st.sampled_from([*CONFIG, "other"]), value=values)
def test_any_value_in_the_configuration(folder, key, value):
    read(
        folder, **{"config.yaml": json.dumps(CONFIG | {key: value}).encode()}
    )  # JSON is YAML, nearly.


@reported
@given(name=file_names, value=values)
def test_any_json(folder, name, value):
    read(folder, **{name: json.dumps(value).encode()})


# A number of a round is a float32.
numbers = st.floats(width=32) | st.sampled_from([0.0, math.nan, math.inf, 1e38, 1e-45])
curves = st.integers(1, 4).flatmap(
    lambda rounds: st.lists(
        st.lists(numbers, min_size=rounds, max_size=rounds), min_size=1, max_size=3
    )
)


@drawn
@given(arms=st.lists(curves, min_size=1, max_size=3), is_bounded=st.booleans())
def test_any_curves_are_drawn(folder, arms, is_bounded):
    bounds = (0, 1) if is_bounded else (0, math.inf)
    panels = [Panel("title", "label", {"arm": np.array(arm, dtype=float)}, bounds) for arm in arms]
    plot_panels([panels], folder / "figure.png", "title")
    assert (folder / "figure.png").stat().st_size > 1000
