import pytest
from fedprox.show_partition import main


@pytest.fixture(autouse=True)
def _fresh(forget_data):
    """No data of other tests."""


SYNTHETIC = ["dataset=synthetic", "num_clients=5", "clients_per_round=2", "partition=iid"]


def test_prints_the_statistics_and_draws_the_picture(tmp_path, capsys):
    picture = tmp_path / "mine.svg"
    assert main([*SYNTHETIC, "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "partition=iid" in printed
    assert "| num clients " in printed
    assert str(picture) in printed
    assert picture.read_text().startswith("<?xml")


def test_a_bad_value_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert main([*SYNTHETIC, "mu=-1", "--picture", str(tmp_path / "p.png")]) == 2
    assert capsys.readouterr().err == (
        "mu=-1 is not allowed: it must be greater than or equal to 0.\n"
    )
    assert list(tmp_path.iterdir()) == []
