"""The ratios as one picture: a bar a row, to the right where mpvm is ahead of QEMU. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import by_group, figure
from benchmarks.results import Result

_AHEAD, _BEHIND, _RULE = "#2a7f62", "#c8553d", "#555555"
_ROW_INCHES = 0.21
_EDGE = 1.02


def save(results: Sequence[Result], title: str, files: Sequence[Path]) -> None:
    """Draw `results` that have a ratio into each of `files`, whose suffix says how.

    The same results give the same bytes of SVG. ImportError where there is no matplotlib.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "mpvm"
    mpl.rcParams["svg.fonttype"] = "none"
    groups = {group: [result for result in rows if result.ratio] for group, rows in by_group(results).items()}
    lines = sum(len(rows) + 1 for rows in groups.values() if rows)
    picture = Figure(figsize=(8.0, 1.2 + _ROW_INCHES * lines), layout="constrained")
    _draw(picture.add_subplot(), groups, title)
    for file in files:
        picture.savefig(file, dpi=100, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw(axes: Any, groups: dict[str, list[Result]], title: str) -> None:
    at = 0
    ticks: list[tuple[int, str]] = []
    for group, rows in groups.items():
        if not rows:
            continue
        axes.text(_EDGE, at, group, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
        for result in rows:
            at += 1
            assert result.ratio is not None
            color = _AHEAD if result.ratio >= 1 else _BEHIND
            axes.barh(at, result.ratio - 1, left=1, color=color, height=0.7)
            axes.text(
                _EDGE, at, figure(result.ratio), transform=axes.get_yaxis_transform(), va="center", size=8
            )
            ticks.append((at, f"{result.name}, {result.smp} vCPU{'s' if result.smp > 1 else ''}"))
        at += 1
    axes.set_xscale("log")
    axes.set_ylim(at, -1)
    axes.axvline(1, color=_RULE, linewidth=1)
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks], size=8)
    axes.grid(axis="x", which="major", color="#dddddd")
    axes.set_axisbelow(True)
    axes.set_xlabel("times as good as QEMU's TCG (logarithmic): right of the line mpvm is ahead")
    axes.set_title(title, size=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
