import pytest
from made_runs import write_run
from toy_replication import make_run

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.replication.cost import cost_line, duration

EPYC = {"commit": "0123456789", "processor": "AMD EPYC", "cpus": 2}


@pytest.fixture
def line(tmp_path):
    """What is said of a run for each of some seconds, environments and keys."""

    def line(*runs):
        for seed, (seconds, environment, keys) in enumerate(runs):
            run = make_run(seed=seed, **keys)
            run.summary["seconds"] = seconds
            write_run(tmp_path / str(seed), run, environment)
        return cost_line(Results.of(load_runs([tmp_path])))

    return line


def test_one_machine(line):
    assert line((100.75, EPYC, {}), (3600.75, EPYC, {})) == (
        "*2 runs take 1 h 1 min 41 s one after another (AMD EPYC, 2 cores, `engine=inline`), at "
        "commit `0123456`.*"
    )


def test_one_run(line):
    assert line((2.5, EPYC, {})) == (
        "*1 run takes 2 s (AMD EPYC, 2 cores, `engine=inline`), at commit `0123456`.*"
    )


def test_several_machines_and_engines_have_a_time_each(line):
    other = {"commit": "89abcdef0+", "processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cpus": 1}
    assert line(
        (61.0, EPYC, {}), (5.0, EPYC, {"engine": "ray"}), (4.0, other, {}), (6, EPYC, {})
    ) == (
        "*4 runs take 1 min 16 s one after another (2 runs take 1 min 7 s on AMD EPYC, 2 cores, "
        "`engine=inline`; 1 run takes 5 s on AMD EPYC, 2 cores, `engine=ray`; 1 run takes 4 s on "
        "Intel(R) Xeon(R) CPU @ 2.20GHz, 1 core, `engine=inline`), at commits `0123456`, "
        "`89abcde+`.*"
    )


def test_what_is_not_known_is_told(line):
    origin = {"cpus": 2}
    assert line((61.0, origin, {"engine": {}}), (None, origin, {"engine": {}})) == (
        "*2 runs take at least 1 min 1 s one after another (an unknown machine, 2 cores), at "
        "unknown commits.*"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s"), (59.9, "59 s"), (60.0, "1 min 0 s"), (3600.0, "1 h 0 min 0 s")],
)
def test_a_time_in_words(seconds, words):
    assert duration(seconds) == words
