"""Arms as numbered markers, for figures of more arms than there are colours."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from common.analysis.style import COLOURS

# As many as have no divisor in common with the colours, so that every pair comes.
_MARKERS: Final = "osD^vPX"
# Where a number may stand, in points of print from the centre of its marker: the first place that
# is free, or else that which is farthest from all else.
_PLACES: Final = np.array(
    [
        (distance * np.cos(angle), distance * np.sin(angle))
        for distance in (12, 18, 25)
        for angle in np.pi * np.array([0.25, 0.75, 1.75, 1.25, 0.5, 1.5, 0, 1])
    ]
)
_FREE: Final = 10.0  # Points of print between a number's centre and another's or a marker's.


def number_arms(names: Sequence[str]) -> dict[str, int]:
    """Return the number of every arm, from 1 in the order in which they come first."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), 1)}


def arm_marker(number: int) -> dict[str, Any]:
    """Return colour and form of the marker of an arm, given its number."""
    place = number - 1
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "markersize": 6,
    }


def arm_handles(numbers: Mapping[str, int], **style: Any) -> list[Line2D]:
    """Return the entries of a legend: of every arm marker, number and name.

    Args:
        numbers: Name of an arm -> its number.
        style: What else the markers have, such as a line.
    """
    return [
        Line2D([], [], label=f"{number}  {name}", **arm_marker(number), **style)
        for name, number in numbers.items()
    ]


def write_numbers(axis: Axes, points: Mapping[int, tuple[float, float]]) -> None:
    """Write the numbers of arms beside their points, apart from points and from each other.

    Nothing of the figure may be moved afterwards: :meth:`Figure.draw_without_rendering` before
    gives everything its place.

    Args:
        axis: Has the points, with its final limits.
        points: Number of an arm -> its point, in units of the data.
    """
    if not points:
        return
    figure = axis.get_figure(root=True)
    assert figure is not None
    in_print = 72 / figure.dpi  # Points of print in a pixel.
    centres = in_print * axis.transData.transform(list(points.values()))
    low, high = in_print * axis.bbox.get_points()
    taken: list[NDArray[np.float64]] = [*centres]
    for (number, point), centre in zip(points.items(), centres, strict=True):
        offset = _free_place(centre, taken, low, high)
        taken.append(centre + offset)
        colour = arm_marker(number)["color"]
        axis.annotate(
            str(number),
            point,
            xytext=(float(offset[0]), float(offset[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1},
            annotation_clip=False,
            zorder=1.5,  # Below markers.
        ).set_in_layout(False)


def _free_place(
    centre: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return where a number is to stand, in points of print from its marker.

    Args:
        centre: Of the marker, shape [2].
        taken: Centres of all markers, and of the numbers that have a place.
        low: Lower left corner of the axes.
        high: Upper right corner.
    """
    places = centre + _PLACES
    apart = np.linalg.norm(places[:, None] - np.array(taken), axis=2).min(axis=1)
    apart[((places < low) | (places > high)).any(axis=1)] = 0
    free = np.flatnonzero(apart >= _FREE)
    chosen = free[0] if len(free) else np.argmax(apart)
    return np.asarray(_PLACES[chosen])
