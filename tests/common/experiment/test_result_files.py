import json
import os
import time

import pytest

from common.errors import UserInputError
from common.experiment import result_files
from common.experiment.result_files import (
    finite,
    read_config,
    read_environment,
    read_first_rounds,
    read_rounds,
    read_summary,
)

READERS = {"config.yaml": read_config, "rounds.jsonl": read_rounds, "summary.json": read_summary}
ROUND = '{"round": 1, "test_accuracy": 0.5}'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file"


def refusal(read, file):
    with pytest.raises(UserInputError) as caught:
        read(file)
    message = str(caught.value)
    assert repr(str(file)) in message
    assert " is not allowed: it must be " in message
    return message


def make_large(file):
    with file.open("wb") as stream:
        stream.truncate(2**40)  # A hole: takes no space, but would take memory.


OBSTACLES = {
    "missing": lambda file: None,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda file: file.symlink_to(file),
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "too large": make_large,
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe{}"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", OBSTACLES.values(), ids=OBSTACLES)
def test_what_is_no_readable_text_is_refused(file, read, make):
    make(file)
    assert "it must be a file of UTF-8 text" in refusal(read, file)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_file_that_must_not_be_read_is_refused(file, read, monkeypatch):
    file.touch()

    def forbidden(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", forbidden)
    assert "that can be read (Permission denied)." in refusal(read, file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- list",
        "a: [",
        "a: &a [1, 1]\nb: [*a, *a]",
        "a: &a {b: 1}\n<<: *a",
        "a: " + "[" * 21 + "]" * 21,
        "- " * 8000,
        "[" * 16000,
        "{<<: " * 3000,
        "seed: " + "9" * 5000,
        "seed: !!int ''",
        "seed: !!bool perhaps",
        "seed: !!timestamp tomorrow",
        "day: 2026-02-31",
        "a: !!python/object/apply:os.getpid []",
        "a: 1\n---\nb: 2",
        "a: \x00",
    ],
)
def test_a_configuration_that_is_no_plain_mapping_is_refused(file, text):
    file.write_text(text)
    start = time.monotonic()
    assert "a YAML mapping without aliases and of at most 20 levels" in refusal(read_config, file)
    assert time.monotonic() - start < 10


def test_a_configuration_is_read(file):
    file.write_text("mu: 1.0\nclient_resources:\n  num_cpus: .5\nclient_timeout: .inf\n")
    assert read_config(file) == {
        "mu": 1.0,
        "client_resources": {"num_cpus": 0.5},
        "client_timeout": float("inf"),
    }


def test_rounds_are_read_with_whatever_else_they_have(file):
    records = [
        {"round": 1, "test_accuracy": None, "test_loss": None},
        {"round": 2, "test_accuracy": 1, "more": {"nested": [1]}},
        {"round": 3, "test_accuracy": 0.25, "text": "line \u2028 separator"},
    ]
    file.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    assert read_rounds(file) == records
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert read_rounds(file) == records


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (ROUND[:-5], "a JSON object"),
        ("", "a JSON object"),
        ("[2, 0.5]", "a JSON object"),
        ("[" * 100_000, "a JSON object"),
        ('{"round": 2, "test_accuracy": NaN}', "a JSON object"),
        ('{"round": 2, "test_accuracy": ' + "9" * 5000 + "}", "a JSON object"),
        (ROUND, "the record of round 2"),
        ('{"round": 3, "test_accuracy": 0.5}', "the record of round 2"),
        ('{"round": 2.0, "test_accuracy": 0.5}', "the record of round 2"),
        ('{"round": "2", "test_accuracy": 0.5}', "the record of round 2"),
        ('{"test_accuracy": 0.5}', "the record of round 2"),
        ('{"round": 2}', "'test_accuracy' from 0 to 1, or null"),
        ('{"round": 2, "test_accuracy": "0.5"}', "'test_accuracy' from 0 to 1, or null"),
        ('{"round": 2, "test_accuracy": true}', "'test_accuracy' from 0 to 1, or null"),
        ('{"round": 2, "test_accuracy": 1e308}', "'test_accuracy' from 0 to 1, or null"),
        ('{"round": 2, "test_accuracy": 1e999}', "'test_accuracy' from 0 to 1, or null"),
        ('{"round": 2, "test_accuracy": -0.1}', "'test_accuracy' from 0 to 1, or null"),
    ],
)
def test_a_line_that_is_not_its_rounds_record_is_refused(file, second, rule):
    file.write_text(f"{ROUND}\n{second}\n{ROUND}\n")
    message = refusal(read_rounds, file)
    assert message.startswith(f"line 2 of '{file}' is not allowed: it must be ")
    assert rule in message


def test_no_rounds_are_refused(file):
    file.touch()
    assert refusal(read_rounds, file).startswith("line 1 of ")


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a": 1', "{" * 100_000, '{"a": NaN}', "{} {}"])
def test_a_summary_that_is_no_object_is_refused(file, text):
    file.write_text(text)
    assert "a JSON object" in refusal(read_summary, file)


def test_a_limit_is_the_largest_size_that_is_read(file, monkeypatch):
    monkeypatch.setattr(result_files, "MOST_SUMMARY_BYTES", 10)
    file.write_text('{"a":1234}')
    assert read_summary(file) == {"a": 1234}
    file.write_text('{"a":1234} ')
    assert "of at most 10 bytes that can be read (it is larger)" in refusal(read_summary, file)


def test_only_finite_numbers_are_finite():
    assert finite(2) == 2.0
    assert finite(-1e308) == -1e308
    for other in (float("nan"), float("inf"), 10**400, True, None, "1", [1]):
        assert finite(other) is None


FIRST_LINES = [
    b'{"round": 1, "a": 0.1}\n',
    b'{"round": 2}\n',
    b'{"round": 3}\n',
    b'{"round": 4, "a',
]


@pytest.mark.parametrize("last_round", range(4))
def test_lines_are_read_byte_for_byte_up_to_a_round(tmp_path, last_round):
    (tmp_path / "rounds.jsonl").write_bytes(b"".join(FIRST_LINES))
    lines, records = read_first_rounds(tmp_path / "rounds.jsonl", last_round)
    assert lines.encode() == b"".join(FIRST_LINES[:last_round])
    assert [record["round"] for record in records] == list(range(1, last_round + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        FIRST_LINES[0],
        FIRST_LINES[1] + FIRST_LINES[0],
        FIRST_LINES[0] + b"\n" + FIRST_LINES[1],
        FIRST_LINES[0] + FIRST_LINES[1][:-3],
        FIRST_LINES[0] + b"[]\n",
        FIRST_LINES[0] + b"5\n",
        FIRST_LINES[0] + b"{}\n",
        FIRST_LINES[0] + b'{"round": "2"}\n',
        FIRST_LINES[0] + b"\xff\xfe\n",
        FIRST_LINES[0] + b"[" * 100_000,
        FIRST_LINES[0] + b'{"round": ' + b"9" * 5000 + b"}\n",
    ],
    ids=lambda content: repr(content[:50]),
)
def test_lines_that_are_not_those_of_the_rounds_are_refused(tmp_path, content):
    (tmp_path / "rounds.jsonl").write_bytes(content)
    with pytest.raises(UserInputError) as e:
        read_first_rounds(tmp_path / "rounds.jsonl", 2)
    assert f"'{tmp_path / 'rounds.jsonl'}' is not allowed: it must be " in str(e.value)
    assert "\n" not in str(e.value)


def test_lines_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UserInputError, match="No such file"):
        read_first_rounds(tmp_path / "rounds.jsonl", 2)


def test_an_environment_is_a_json_object(tmp_path):
    file = tmp_path / "environment.json"
    file.write_text('{"engine": "inline", "resumed": [{}]}')
    assert read_environment(file) == {"engine": "inline", "resumed": [{}]}
    for bad in (b"", b"[]", b"5", b'{"resumed": {}}', b"\xff", b"[" * 100_000):
        file.write_bytes(bad)
        with pytest.raises(UserInputError, match=r"environment\.json' is not allowed"):
            read_environment(file)
    file.unlink()
    with pytest.raises(UserInputError, match=r"environment\.json' is not allowed"):
        read_environment(file)
