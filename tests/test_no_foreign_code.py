"""No file that a run or a report reads can make this project execute what it holds."""

import ast
from pathlib import Path

import pytest

import common

ROOT = Path(common.__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("common", "baselines")
    for path in (ROOT / folder).rglob("*.py")
)

BUILTINS = {"eval", "exec", "compile", "__import__"}
# Whole modules that do nothing but load objects.
LOADERS = {"cloudpickle", "dill", "joblib", "marshal", "shelve"}
FUNCTIONS = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "os.system"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
    *("yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "yaml.CLoader"),
    "shutil.unpack_archive",
}
# Calls that are safe only with this argument.
ONLY_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
METHODS = {"extractall"}
ARGUMENTS = {"trust_remote_code"}


def problems(source):
    """Return what in a piece of Python could execute what a file holds, by line."""
    return sorted({(node.lineno, what) for node in walk(source) for what in found(node)})


def walk(source):
    return (node for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno"))


def found(node):
    if isinstance(node, ast.Import):
        yield from {alias.name for alias in node.names} & LOADERS
    elif isinstance(node, ast.ImportFrom):
        yield from {node.module} & LOADERS
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        yield from names & (FUNCTIONS | ONLY_WITH.keys())  # They could then hide behind any name.
    elif isinstance(node, ast.Attribute):
        yield from {ast.unparse(node)} & FUNCTIONS
        yield from {node.attr} & METHODS
    elif isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        yield from {name} & BUILTINS
        yield from given.keys() & ARGUMENTS
        if name in ONLY_WITH:
            argument, value = ONLY_WITH[name]
            if given.get(argument) is not value:
                yield f"{name} without {argument}={value}"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_source_file_runs_what_it_reads(path):
    assert problems((ROOT / path).read_text()) == []


def test_all_packages_are_looked_at():
    assert {path.parts[0] for path in SOURCES} == {"common", "baselines"}
    assert Path("common/data/cache.py") in SOURCES


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "import pickle; pickle.load(file)",
        "import pickle; load = pickle.loads",
        "from pickle import loads",
        "from torch import load",
        "import joblib",
        "from cloudpickle import loads",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.parse(text, yaml.UnsafeLoader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "load_dataset(name, trust_remote_code=False)",
        "tarfile.open(path).extractall(folder)",
        "os.system(text)",
    ],
)
def test_what_could_run_a_files_content_is_found(source):
    assert problems(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(text)",
        "pickle.PickleBuffer(data)",
        "yaml.safe_load(text)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "json.load(file)",
    ],
)
def test_what_cannot_is_left_alone(source):
    assert problems(source) == []
