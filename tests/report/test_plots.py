"""Plots are drawn for every comparison, whatever its runs and metrics are called."""

import re

import pytest

from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.plots import save_plots
from cai_lightning.report.runs import load_runs

LOW = {f"{n:04x}": n % 10 / 10 for n in range(40)}
HIGH = {id: value + 0.2 for id, value in LOW.items()}


def plots(paths, folder):
    runs = load_runs(paths)
    return {path.name: path for path in save_plots(compare_runs(runs, runs[0].name), folder)}


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())


@pytest.fixture
def runs(make_run):
    columns = ("helpfulness", "harmlessness")
    names = {"$\\frac": LOW, "<b>tuned": HIGH}
    return [
        make_run(name, dict.fromkeys(columns, scores) | {"a$b_c$": {"0001": 0.5}}) for name, scores in names.items()
    ]


def test_every_plot_is_written_as_png_and_svg(runs, tmp_path):
    files = plots(runs, tmp_path / "plots")
    names = ("means", "differences", "tradeoffs")
    assert list(files) == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    for name, path in files.items():
        assert path.read_bytes().startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_names_are_text_in_the_svg(runs, tmp_path):
    files = plots(runs, tmp_path)
    for name in ("means.svg", "differences.svg", "tradeoffs.svg"):
        assert "&lt;b&gt;tuned" in texts(files[name]), name
    assert "$\\frac" in texts(files["means.svg"])
    assert "a$b_c$" in texts(files["means.svg"])


def test_the_same_comparison_gives_the_same_files(runs, tmp_path):
    first, again = plots(runs, tmp_path / "first"), plots(runs, tmp_path / "again")
    assert all(first[name].read_bytes() == again[name].read_bytes() for name in first)


def test_what_cannot_be_drawn_is_left_out_or_said(make_run, tmp_path):
    base = make_run("base", {"helpfulness": LOW})
    other = make_run(
        "other", {"helpfulness": HIGH, "judge": {}}, helpfulness={"settings": "s0"}, judge={"not_run": "x"}
    )
    files = plots([base, other], tmp_path)
    assert list(files) == ["means.png", "means.svg"], "no difference and no second side"
    assert "not run" in texts(files["means.svg"])
