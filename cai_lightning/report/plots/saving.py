"""Writes the plots of a comparison.

files = save_plots(comparison, output / "plots")
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.report.cells import Comparison
from cai_lightning.report.plots.differences import differences_figure
from cai_lightning.report.plots.means import means_figure
from cai_lightning.report.plots.tradeoffs import tradeoffs_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_plots(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes every plot that the comparison has something to show in, as PNG and SVG, and returns the files."""
    figures = {
        "means": means_figure(comparison),
        "differences": differences_figure(comparison),
        "tradeoffs": tradeoffs_figure(comparison),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, figure in figures.items() if figure for path in _save(figure, folder / name)]


def _save(figure: "Figure", path: Path) -> list[Path]:
    import matplotlib

    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    # Text stays text, and the same comparison gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cai_lightning"}):
        figure.savefig(png, dpi=150, facecolor="white")
        figure.savefig(svg, facecolor="white", metadata={"Date": None})
    return [png, svg]
