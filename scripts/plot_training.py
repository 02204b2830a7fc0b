"""What guards have measured along trainings, one plot a figure and one curve a run; passed limits are marked.

    python scripts/plot_training.py runs/rl_cai runs/rl_cai_without_kl --output training.png

It reads the runs' guards.jsonl, which `fit` writes where its trainer has `cai_lightning.modules.Guards`.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

from cai_lightning.report.colors import colors, run_color
from cai_lightning.report.runs import name_runs
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, read_lines
from cai_lightning.run.records import GUARDS, Guarded

COLUMNS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, after fit with guards")
    parser.add_argument("--output", type=Path, default=Path("training.png"), help="the plot (png, svg or pdf)")
    options = parser.parse_args()
    try:
        measured = dict(zip(name_runs(options.runs), map(read, options.runs), strict=True))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    plot(measured, options.output)
    for name, rows in measured.items():
        for row in rows:
            for words in row.passed.values():
                print(f"{name}, step {row.step}: {words}")
    print(f"Written: {options.output}")
    return 0


def read(run: Path) -> list[Guarded]:
    """What the guards of a run have found, in the order of its steps."""
    path = run / GUARDS
    if not path.is_file():
        raise UserError(f"{path}: there is none; give fit guards (trainer.callbacks: cai_lightning.modules.Guards).")
    return [check(Guarded, row, where) for where, row in read_lines(path)]


def plot(measured: dict[str, list[Guarded]], output: Path) -> None:
    """Draws every figure that some run has."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for rows in measured.values() for row in rows for name in row.figures))
    height = -(-len(names) // COLUMNS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(4 * COLUMNS, 2.6 * height), squeeze=False, sharex=True)
    for place, axis in enumerate(axes.flat):
        if place >= len(names):
            axis.set_visible(False)
            continue
        for number, (run, rows) in enumerate(measured.items()):
            curve(axis, names[place], rows, colors()[run_color(number)], run)
        axis.set_title(names[place], loc="left", fontsize=10)
        axis.set_xlabel("step")
        axis.xaxis.set_tick_params(labelbottom=True)
    axes.flat[0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(output, dpi=150)


def curve(axis: "matplotlib.axes.Axes", name: str, rows: list[Guarded], color: str, run: str) -> None:
    """One run's figure along its steps, with a cross where its limit was passed."""
    known = [row for row in rows if name in row.figures]
    axis.plot([row.step for row in known], [row.figures[name] for row in known], marker=".", color=color, label=run)
    passed = [row for row in known if name in row.passed]
    axis.plot([row.step for row in passed], [row.figures[name] for row in passed], "x", color=color, markersize=9)


if __name__ == "__main__":
    sys.exit(main())
