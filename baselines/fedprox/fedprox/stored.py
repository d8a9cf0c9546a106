"""Where the baseline keeps its results and claims."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1]
RESULTS: Final = FOLDER / "results"
CLAIMS: Final = FOLDER / "claims.yaml"
PUBLISHED: Final = FOLDER / "published"
README: Final = FOLDER / "README.md"
PAGE: Final = FOLDER.parents[1] / "docs" / "fedprox.md"
