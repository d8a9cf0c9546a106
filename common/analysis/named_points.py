"""Arms as markers of many kinds, with their names beside them, in place of a legend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.analysis.style import COLOURS, label_colour

Floats = NDArray[np.float64]

# As many as have no divisor in common with the colours, so that every pair comes.
_MARKERS: Final = "osD^vPX"
_FONT_SIZE: Final = 9
_HALF_MARKER: Final = 5.0  # Points of print.
_PAD: Final = 1.5  # Points of print around letters.
# Where a name may stand: how far from its point its nearest side or corner is, in points of print.
_DISTANCES: Final = np.array([7.0, 11.0, 16.0, 24.0, 34.0, 46.0, 60.0, 80.0, 105.0, 135.0])
_ANGLES: Final = np.pi / 8 * np.array([1, 7, 0, 8, 15, 9, 2, 6, 14, 10, 4, 12, 3, 5, 13, 11])
# What a place costs: that it covers a name or a marker, what is drawn, and a point of distance.
_COVERS_NAME: Final = 1e6
_COVERS_DRAWN: Final = 15.0
_NEAR: Final = 60.0  # Points of print from a point to the centre of its name, letters aside.


@dataclass(frozen=True)
class NamedPoint:
    """What a name is to stand beside.

    Attributes:
        name: The letters.
        point: In units of the data.
        colour: Of the point, one of the style.
    """

    name: str
    point: tuple[float, float]
    colour: str


def marker_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour and form of the marker of every arm, in the order in which they come first."""
    return {
        name: {
            "color": COLOURS[place % len(COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "markersize": 6,
        }
        for place, name in enumerate(dict.fromkeys(names))
    }


def write_all_names(
    figure: Figure,
    named: Mapping[Axes, Sequence[NamedPoint]],
    drawn: Mapping[Axes, Sequence[Floats]],
    growth: float,
) -> None:
    """Write names beside the points of all axes, apart from points and from each other.

    The figure gets higher, at most by half its height, as long as there is not room enough close
    to the points. Nothing of it may be moved afterwards.

    Args:
        figure: In constrained layout.
        named: What to write in which axes, which have their final limits.
        drawn: Curves that names are to leave free where they can, each of shape [points, 2], in
            units of the data.
        growth: By how many inches it grows at a time.
    """
    most = 1.5 * figure.get_figheight()
    while True:
        figure.draw_without_rendering()  # Gives points their places on the page.
        places = {axis: _places(axis, of, drawn.get(axis, ())) for axis, of in named.items()}
        if all(fits for _, fits in places.values()) or figure.get_figheight() + growth > most:
            break
        figure.set_figheight(figure.get_figheight() + growth)
    figure.set_layout_engine("none")
    for axis, (offsets, _) in places.items():
        for one, (x, y) in zip(named[axis], offsets, strict=True):
            axis.annotate(
                one.name,
                one.point,
                xytext=(float(x), float(y)),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=_FONT_SIZE,
                color=label_colour(one.colour),
                arrowprops={
                    "arrowstyle": "-",
                    "color": one.colour,
                    "linewidth": 0.6,
                    "shrinkA": 0,
                    "shrinkB": 3,
                },
                annotation_clip=False,
                zorder=1.5,  # Below markers.
            )


def _places(
    axis: Axes, named: Sequence[NamedPoint], drawn: Sequence[Floats]
) -> tuple[list[Floats], bool]:
    """Return where the names of axes are to stand, and whether all have room.

    Returns:
        From each point to the centre of its name, in points of print; and whether no name covers
        another or a marker, and all are near.
    """
    if not named:
        return [], True
    figure = axis.get_figure(root=True)
    assert figure is not None
    in_print = 72 / figure.dpi  # Points of print in a pixel.
    points = in_print * axis.transData.transform([one.point for one in named])
    halves = [_half_size(axis, one.name, in_print) for one in named]
    low, high = in_print * axis.bbox.get_points()
    taken = [np.array([*(point - _HALF_MARKER), *(point + _HALF_MARKER)]) for point in points]
    ink = [_along(in_print * axis.transData.transform(curve)) for curve in drawn]
    fits = True
    offsets = []
    for point, half in zip(points, halves, strict=True):
        away = _candidates(half)
        centres = point + away
        boxes = np.hstack([centres - half, centres + half])
        leaders = point + np.linspace(0.2, 1, 9)[:, None, None] * away
        others = np.array(taken)
        covers = _overlaps(boxes, others).sum(axis=1).astype(float)
        names = others[len(points) :]
        covers += sum(_within(leader, names) for leader in leaders)
        covers += ((centres - half < low) | (centres + half > high)).any(axis=1)
        cost = _COVERS_NAME * covers + np.linalg.norm(away, axis=1)
        drawn_points = np.concatenate([np.empty((0, 2)), *ink])
        for place, box in enumerate(boxes):
            inside = (drawn_points >= box[:2]) & (drawn_points <= box[2:])
            cost[place] += _COVERS_DRAWN * np.count_nonzero(inside.all(axis=1))
        best = int(np.argmin(cost))
        is_near = bool((np.abs(away[best]) <= _NEAR + half).all())
        fits = fits and not covers[best] and is_near
        taken.append(boxes[best])
        ink.append(leaders[:, best])
        offsets.append(away[best])
    return offsets, fits


def _half_size(axis: Axes, name: str, in_print: float) -> Floats:
    text = axis.text(0, 0, name, fontsize=_FONT_SIZE)
    box = text.get_window_extent()
    text.remove()
    return in_print * np.array([box.width, box.height]) / 2 + _PAD


def _candidates(half: Floats) -> Floats:
    """Return where the centre of a name may be, from its point: shape [places, 2]."""
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    # The side that faces the point is as far away as said.
    away = _DISTANCES[:, None, None] * directions + np.clip(2 * directions, -1, 1) * half
    return np.asarray(away.reshape(-1, 2))


def _along(curve: Floats) -> Floats:
    """Return points along a curve, close to each other."""
    steps = np.maximum(1, np.ceil(np.linalg.norm(np.diff(curve, axis=0), axis=1) / 3)).astype(int)
    parts = [
        start + (end - start) * np.linspace(0, 1, num)[:, None]
        for start, end, num in zip(curve, curve[1:], steps, strict=False)
    ]
    return np.concatenate([curve, *parts])


def _overlaps(boxes: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which boxes overlap which others: shape [boxes, others]."""
    lower = np.maximum(boxes[:, None, :2], others[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray((lower < upper).all(axis=2))


def _within(points: Floats, boxes: Floats) -> Floats:
    """Return in how many boxes each point is."""
    inside = (points[:, None] > boxes[None, :, :2]) & (points[:, None] < boxes[None, :, 2:])
    return np.asarray(inside.all(axis=2).sum(axis=1), dtype=float)
