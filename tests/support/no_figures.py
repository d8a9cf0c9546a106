"""What stands in for figures where nobody looks at them: to draw takes seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>\n'


def draw_nothing(
    replication: Any, panels: Any, experiment: str, path: Path, changed: Sequence[str] = ()
) -> None:
    """Leave an empty picture in the place of :func:`common.replication.drawing.draw`."""
    path.write_text(_EMPTY)
