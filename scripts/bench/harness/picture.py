"""The picture: every ratio with its interval against its target, on one logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no screen is needed
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.rows import Row

_MET, _MISSED, _UNJUDGED, _TARGET = "#1b7f3b", "#c0392b", "#555555", "#1f3a93"
_COLOURS = {True: _MET, False: _MISSED, None: _UNJUDGED}


def draw(rows: Sequence[Row], title: str, *files: Path) -> None:
    """Draw into each of the files; the kind of the picture is that of its name."""
    ratios = [row for row in sorted(rows, key=lambda one: -one.number) if row.is_ratio and row.judged and not row.error]
    figure, axes = plt.subplots(figsize=(14, 1.6 + 0.36 * max(1, len(ratios))))
    for place, row in enumerate(ratios):
        assert row.judged is not None  # noqa: S101 - chosen so above
        colour = _COLOURS[row.met]
        axes.plot([row.judged.low, row.judged.high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot(row.judged.value, place, "o", color=colour, markersize=6)
        if row.target is not None:
            # The arrow shows to the good side.
            marker = "<" if row.target.at_most else ">"
            axes.plot([row.target.bound] * 2, [place - 0.35, place + 0.35], color=_TARGET, linewidth=1.5)
            axes.plot(row.target.bound, place + 0.35, marker, color=_TARGET, markersize=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1.0, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(ratios)), [_label(row) for row in ratios], fontsize=8)
    axes.set_xlabel("ours / rival (a dot with its 95 % interval); the arrow at a target shows to its good side")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, axis="x", linewidth=0.3)
    axes.legend(
        handles=[
            Line2D([], [], color=_MET, marker="o", label="target met"),
            Line2D([], [], color=_MISSED, marker="o", label="target missed"),
            Line2D([], [], color=_TARGET, label="target"),
        ],
        fontsize=8,
        loc="best",
    )
    figure.tight_layout()
    for file in files:
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _label(row: Row) -> str:
    """Both sides by name; what they measured stands in the table."""
    return f"{row.number}  {row.subject}  /  {row.rival.partition(':')[0]}".replace("`", "")
