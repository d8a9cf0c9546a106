import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from flwr.cli.config_utils import load_and_validate
from flwr.cli.utils import is_valid_name
from hypothesis import given
from hypothesis import strategies as st
from markdown_pages import sections
from refusal import refusal
from repository_copy import REPOSITORY, copy_repository, run
from run_folders import read_rounds

from common.errors import StorageError, UserInputError
from common.scaffold import new_baseline as scaffold
from common.scaffold.new_baseline import new_baseline, require_name

SPELLING = (
    "it must be at most 32 lower-case letters, digits and single underscores between them, a "
    "letter first, as in `make new-baseline name=my_method`."
)
# Sorted before and after "common", short and as long as can be.
NAMES = ["a", "my_method", "z9_" + "long" * 7 + "x"]

PAGE_TESTS = "python -m pytest tests/baselines/test_readmes.py tests/docs/test_pages.py"


@pytest.fixture
def root(tmp_path):
    """A repository with nothing in it but what is changed, and what tells ruff its packages."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "__init__.py").write_text('"""Shared."""\n')
    return tmp_path


def files(folder):
    return {
        file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


@pytest.mark.parametrize(
    "name",
    [
        "",
        "FedNova",
        "fed-nova",
        "2fed",
        "fed__nova",
        "_fed",
        "fed_",
        "fed nova",
        "fed.nova",
        "fédé",
        "a" * 33,
        "../fed",
        "fed\n",
    ],
)
def test_what_is_no_name_is_refused(root, name):
    before = files(root)
    assert refusal(new_baseline, name, root) == f"name={name!r} is not allowed: {SPELLING}"
    assert files(root) == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("torch", "module"),
        ("json", "module"),
        ("sys", "module"),
        ("common", "module"),
        ("refusal", "module"),
        ("new_baseline", "module"),
        ("class", "keyword"),
    ],
)
def test_a_name_that_means_something_already_is_refused(root, name, what):
    (root / "new_baseline").mkdir()  # In the real one, its page is there.
    (root / "tests" / "support").mkdir(parents=True)
    (root / "tests" / "support" / "refusal.py").touch()
    assert refusal(new_baseline, name, root) == (
        f"name={name!r} is not allowed: it must be new to Python, but there is a {what} of that "
        "name."
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("fedprox", "baselines/fedprox"),
        ("concepts", "docs/concepts.md"),
        ("new_baseline", "docs/new_baseline.md"),
    ],
)
def test_a_name_that_is_taken_in_this_repository_is_refused(name, path):
    assert refusal(require_name, name, REPOSITORY) == (
        f"name={name!r} is not allowed: it must be new, but {path} is there already."
    )


@given(st.from_regex(r"[a-z][a-z0-9_]{0,34}", fullmatch=True) | st.text(max_size=5))
def test_a_name_that_is_allowed_is_one_for_python_and_for_flower(name):
    try:
        require_name(name, REPOSITORY)
    except UserInputError:
        return
    assert name.isidentifier()
    assert name == name.lower()
    assert is_valid_name(name.replace("_", "-"))[0]
    assert scaffold.spellings(name)["NewBaseline"].isidentifier()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_is_clean_and_all_in_the_new_name(root, name):
    made = new_baseline(name, root)
    assert made == [
        root / "baselines" / name,
        root / "tests" / "baselines" / name,
        root / "docs" / f"{name}.md",
    ]
    for file, content in files(root).items():
        if file.name != "pyproject.toml" or file.parent.name == name:
            assert not re.search(rb"new.?baseline", content, re.IGNORECASE), file
            assert not re.search(r"new.?baseline|__pycache__", str(file), re.IGNORECASE)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        subprocess.run([*ruff, *command, "--no-cache", "."], cwd=root, check=True)


def test_it_is_registered_and_nothing_else_changes(root):
    before = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    new_baseline("my_method", root)
    after = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    line = {"include": "my_method", "from": "baselines/my_method"}
    assert after["poetry"]["packages"] == [*before["poetry"]["packages"], line]
    assert after["mypy"]["packages"] == [*before["mypy"]["packages"], "my_method"]
    assert {file.parts[0] for file in files(root)} == {
        *("baselines", "common", "docs", "pyproject.toml", "tests")
    }


def test_flower_takes_the_app(root):
    new_baseline("my_method", root)
    app = root / "baselines" / "my_method" / "pyproject.toml"
    config, warnings = load_and_validate(app, check_module=False)
    assert warnings == []
    assert config["project"]["name"] == "my-method"
    assert config["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "my_method.server_app:app",
        "clientapp": "my_method.client_app:app",
    }


def test_its_page_and_its_readme_have_the_sections_of_all(root):
    new_baseline("my_method", root)
    for made, model in (
        ("docs/my_method.md", "docs/fedprox.md"),
        ("baselines/my_method/README.md", "baselines/fedprox/README.md"),
    ):
        assert sections((root / made).read_text()) == sections((REPOSITORY / model).read_text())


def test_what_is_left_to_say_is_marked(root):
    """By the word that tests/baselines/test_readmes.py refuses beside stored results."""
    new_baseline("my_method", root)
    for made in ("docs/my_method.md", "baselines/my_method/README.md"):
        text = (root / made).read_text()
        assert re.findall(r"(\S+) say\b", text, re.IGNORECASE) == ["TODO:"] * text.count("TODO")
        assert "TODO" in text


def test_the_same_name_a_second_time_is_refused(root):
    new_baseline("my_method", root)
    before = files(root)
    assert refusal(new_baseline, "my_method", root) == (
        "name='my_method' is not allowed: it must be new, but baselines/my_method is there already."
    )
    assert files(root) == before


@pytest.mark.parametrize("step", ["_tidy", "write_atomically"])
def test_nothing_is_left_of_what_could_not_be_finished(root, monkeypatch, step):
    def fail(*_):
        raise StorageError("the disk is full.")

    before = files(root)
    monkeypatch.setattr(scaffold, step, fail)
    with pytest.raises(StorageError):
        new_baseline("my_method", root)
    assert files(root) == before


def test_a_pyproject_that_cannot_be_registered_in_is_left_alone(root):
    (root / "pyproject.toml").write_text("[project]\n")
    assert refusal(new_baseline, "my_method", root).startswith("pyproject.toml is not allowed: ")
    assert files(root).keys() == {*map(type(root), ["pyproject.toml", "common/__init__.py"])}


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestInTheRepository:
    @pytest.fixture(scope="class")
    def copy(self, tmp_path_factory):
        copy = tmp_path_factory.mktemp("repository")
        copy_repository(copy)
        said = run("make new-baseline name=my_method", copy)
        assert "Made baselines/my_method\n" in said
        return copy

    def test_its_types_are_right(self, copy):
        run("python -m mypy -p my_method", copy)

    def test_its_own_tests_pass_and_it_joins_those_of_all(self, copy):
        """All but those that start Ray or Flower's processes."""
        said = run(
            "python -m pytest -v tests/baselines/my_method tests/baselines/test_configs.py", copy
        )
        assert "::test_schema_and_table_have_the_same_keys[my_method] PASSED" in said

    def test_its_page_and_its_readme_are_as_those_of_all(self, copy):
        run(f"{PAGE_TESTS} -k my_method", copy)

    def test_its_placeholders_are_refused_beside_results(self, copy):
        results = copy / "baselines" / "my_method" / "results" / "first.csv"
        results.parent.mkdir(exist_ok=True)
        results.touch()
        said = run(f"{PAGE_TESTS} -k my_method || true", copy)
        results.unlink()
        assert re.findall(r"^FAILED .*::(\S+)", said, re.MULTILINE) == [
            "test_what_has_results_has_no_placeholders[my_method]"
        ]

    def test_it_runs(self, copy):
        run("python -m my_method.main +experiment=smoke output_dir=smoke engine=inline", copy)
        assert len(read_rounds(copy / "smoke")) == 3
        assert (copy / "smoke" / "summary.json").exists()

    def test_its_pages_say_what_was_not_run_yet(self, copy):
        run("python -m my_method.report", copy)
        for page in ("docs/my_method.md", "baselines/my_method/README.md"):
            assert "Not run yet" in (copy / page).read_text()
