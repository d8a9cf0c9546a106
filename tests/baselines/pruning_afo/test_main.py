"""The command `python -m pruning_afo.main`, in this process: a start takes seconds."""

import hashlib
import re

import pytest
from command_line import main_of
from pruning_afo.config import PruningConfig
from run_folders import read_config, read_rounds, read_summary

TINY = (
    *("width=2", "num_clients=3", "clients_per_round=3", "num_rounds=2", "batch_size=16"),
    "engine=inline",
)


@pytest.fixture
def main(cwd, tiny_cifar10_at_hand, monkeypatch, capfd):
    with main_of("pruning_afo", PruningConfig, monkeypatch, capfd) as main:
        yield main


def test_the_smoke_run_is_the_whole_path(cwd, main):
    smoke = ("+experiment=smoke", "width=2", "engine=inline", "output_dir=a")
    ended = main(*smoke)
    assert ended.code == 0
    assert ended.out.endswith(f"Results are in {cwd / 'a'}\n")
    closing = read_summary(cwd / "a")
    assert closing["complete"] is True
    model = (cwd / "a" / "model.safetensors").read_bytes()
    assert closing["model_sha256"] == hashlib.sha256(model).hexdigest()
    written = read_config(cwd / "a")
    PruningConfig.parse(written)
    assert (written["sparsifier"], written["error_feedback"]) == ("top_k", True)
    assert len(read_rounds(cwd / "a")) == written["num_rounds"]

    ended = main(*smoke)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Complete already: results are in {cwd / 'a'}\n"


@pytest.mark.slow
def test_methods_of_a_sweep_meet_the_same_clients(cwd, main):
    ended = main(
        *("--multirun", *TINY, "clients_per_round=2", "num_rounds=4"),
        *("+method=fedavg,fedavg_top_k_1_ef_int8", "output_dir=sweep"),
    )
    assert ended.code == 0
    folders = [cwd / "sweep" / str(number) for number in range(2)]
    first, second = ([line["clients"] for line in read_rounds(folder)] for folder in folders)
    assert first == second
    assert len({read_summary(folder)["model_sha256"] for folder in folders}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["density=0"], "density=0 is not allowed: it must be greater than 0."),
        (["width=0"], "width=0 is not allowed: it must be greater than or equal to 1."),
        (["quantizer=int8"], "quantizer is not a key of this experiment: did you mean quantiser?"),
        (["clip_norm=1"], "clip_norm=1.0 is not allowed with error_feedback=False: it must be inf"),
        (["learning_rate_steps='1,2'"], "learning_rate_steps='1,2' is not allowed: it must be num"),
        (
            ["+compression=dgc"],
            "warmup_rounds=4 is not allowed: it must be less than num_rounds, 2",
        ),
        (["num_clients=121"], "partition='iid' is not possible: num_clients=121 is not allowed: "),
        (["+method=nosuch"], "In 'config': Could not find 'method/nosuch' Available options in "),
        (["server_device=cuda"], "server_device='cuda' is not allowed: it must be cpu or one of "),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_bad_input_is_one_sentence_and_code_2(cwd, main, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    ended = main(*TINY, *arguments)
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert ended.out == ""
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "its '[^']+' holds a number that is not finite"),
        (
            ["+compression=top_k_1", "error_feedback=true"],
            "ValueError: '[^']+' has a value that is not finite",
        ),
    ],
    ids=["model", "update"],
)
def test_a_run_that_diverges_names_the_client(cwd, main, keys, reason):
    ended = main(*TINY, *keys, "learning_rate=1e38", "num_epochs=3", "output_dir=a")
    assert ended.code == 1
    (failure,) = (line for line in ended.err.splitlines() if line.startswith("Client "))
    assert re.fullmatch(f"Client 0 failed in round 1: {reason}", failure)
    assert not (cwd / "a" / "summary.json").exists()
