"""One look for all figures: colour-blind safe, readable in print, text kept as text in SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl

# Okabe and Ito (2008), safe for the common forms of colour blindness; black and yellow left out.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_SETTINGS: Final[dict[Any, Any]] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 120,
    "svg.fonttype": "none",
    # Otherwise the names of an SVG's parts are drawn anew every time.
    "svg.hashsalt": "flowerbed",
}


@contextmanager
def flowerbed_style() -> Iterator[None]:
    """Draw in the suite's style inside the block."""
    with mpl.rc_context(_SETTINGS):
        yield
