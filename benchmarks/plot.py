"""The ratios as one picture: a bar a row, to the right where mpvm is ahead of QEMU. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import by_group, figure
from benchmarks.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AHEAD, _BEHIND, _RULE, _GRID = "#2a7f62", "#c8553d", "#444444", "#dddddd"
_ROW_INCHES = 0.17
# What is off this scale has its figure beside it, as everything has.
_LOWEST, _HIGHEST = 1 / 8, 8.0
_EDGE = 1.02


def save(results: Sequence[Result], title: str, files: Sequence[Path]) -> None:
    """Draw `results` that have a ratio into each of `files`, whose suffix says how.

    The line across a bar's end is the spread: the contenders' worst and best runs against each other.
    The same results give the same bytes of SVG. ImportError where there is no matplotlib.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups = {group: [result for result in rows if result.ratio] for group, rows in by_group(results).items()}
    groups = {group: rows for group, rows in groups.items() if rows}
    lines = sum(len(rows) + 1 for rows in groups.values())
    with mpl.rc_context({"svg.hashsalt": "mpvm", "svg.fonttype": "none", "font.size": 7}):
        picture = Figure(figsize=(7.5, 1.0 + _ROW_INCHES * lines), layout="constrained")
        _draw(picture.add_subplot(), groups, title)
        for file in files:
            picture.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw(axes: "Axes", groups: dict[str, list[Result]], title: str) -> None:
    across = axes.get_yaxis_transform()
    at = 0
    names: dict[int, str] = {}
    for group, rows in groups.items():
        axes.text(0.01, at, group, transform=across, fontweight="bold", va="center")
        for result in rows:
            at += 1
            assert result.ratio is not None
            assert result.spread is not None
            color = _AHEAD if result.ratio >= 1 else _BEHIND
            axes.barh(at, result.ratio - 1, left=1, color=color, height=0.7)
            axes.plot(result.spread, [at, at], color=_RULE, linewidth=0.8)
            axes.text(_EDGE, at, figure(result.ratio), transform=across, va="center")
            names[at] = f"{result.name}:{result.smp}"
        at += 1
    axes.set_xscale("log", base=2)
    axes.set_xlim(_LOWEST, _HIGHEST)
    axes.set_ylim(at, -1)
    axes.axvline(1, color=_RULE, linewidth=0.8)
    axes.set_xticks([0.125, 0.25, 0.5, 1, 2, 4, 8], ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_yticks(list(names), list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("times as good as QEMU's TCG: right of the line mpvm is ahead")
    axes.set_title(title)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
