"""Plots are drawn for every comparison, whatever its runs and metrics are called, the same for the page and files."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.report.colors import colors
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.drawing import Key, inline
from cai_lightning.report.plots import (
    Histogram,
    Line,
    Mark,
    bin_edges,
    distribution_panel,
    forest,
    histograms,
    mean_panel,
    save_plots,
    tradeoff_panels,
)
from cai_lightning.report.runs import load_runs
from cai_lightning.statistics import Interval

LOW = {f"{n:04x}": n % 10 / 10 for n in range(40)}
HIGH = {id: value + 0.2 for id, value in LOW.items()}
HOSTILE = (
    "</svg><script>alert(1)</script> $\\frac \x1b[31m\u202e\x00\ufffe\ud800 \u6f22\u5b57 \U0001f600 &lt; {{ 7 * 7 }}"
)


def plots(paths, folder):
    runs = load_runs(paths)
    return {path.name: path for path in save_plots(compare_runs(runs, runs[0].name), folder)}


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg if isinstance(svg, str) else svg.read_text())


def tips(svg):
    return [title.text for title in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]


def mark(mean, half=0.1):
    return Mark(Interval(mean, mean - half, mean + half, 9), "run-1")


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
    assert {"not run", "not comparable"} <= set(texts(files["means.svg"]))


def test_the_page_and_the_files_show_the_same(runs, tmp_path):
    comparison = compare_runs(loaded := load_runs(runs), loaded[0].name)
    drawn = [text for column in comparison.columns for text in texts(inline(mean_panel(column, comparison)))]
    assert set(drawn) < set(texts(plots(runs, tmp_path)["means.svg"])), "a file has titles and a caption, too"


def test_a_plot_on_the_page_has_its_colors_and_no_style_of_its_own():
    lines = [Line("base", [mark(0.3)], "better"), Line("tuned", [mark(0.5), mark(0.6)], "worse"), Line("none")]
    svg = inline(forest("harmlessness", lines, "mean", 0.4, keys=[Key("1", "a key", "run-7")]))
    assert not re.search(r"<style|style=|<metadata|#[0-9a-f]{6}\b|font-family", svg)
    painted = set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg))
    names = ("run-1", "run-7", "better", "worse", "ink", "quiet", "line", "card")
    assert painted == {"none", *(f"var(--{name})" for name in names)}
    assert colors()["run-1"] == "#2f6fb3", "a file is light"


def test_marks_have_their_values_as_text():
    svg = inline(forest("harmlessness", [Line("base", [mark(0.25)], "unclear"), Line("gone", remark="not run")]))
    assert tips(svg)[0] == "harmlessness"
    assert "base: 0.250 [0.150, 0.350]" in tips(svg)
    assert {"base", "unclear", "gone", "not run"} <= set(texts(svg))


@pytest.mark.filterwarnings("error")
def test_hostile_names_are_text():
    line = Line(HOSTILE, [Mark(Interval(0.5, None, None, 1), "run-0", name=HOSTILE)], HOSTILE)
    spread = Histogram(HOSTILE, "run-0", np.array([0.5, 0.7]))
    for panel in (forest(HOSTILE, [line], HOSTILE, keys=[Key(HOSTILE, HOSTILE, "ink")]), histograms(HOSTILE, [spread])):
        svg = inline(panel)
        assert "<script" not in svg
        assert svg.count("</svg>") == 1
        assert tips(svg)[0].startswith("</svg><script>alert(1)</script> $\\frac \\x1b[31m\\u202e\\x00")


def test_a_long_name_is_shortened_and_whole_for_a_pointer():
    name = "a_very_long_name_of_a_run_that_nobody_can_read_on_a_phone@12"
    svg = inline(forest("m", [Line(name, [mark(0.5)], "better")]))
    (shown,) = [text for text in texts(svg) if "…" in text]
    assert shown.startswith("a_very_long_name")
    assert shown.endswith("phone@12")
    assert len(shown) + len("better") <= 42
    assert name in tips(svg)


def test_a_single_run_has_a_point_in_its_trade_off(make_run):
    scores = {id: round(value) for id, value in LOW.items()}
    runs = load_runs([make_run("base", {"helpfulness": scores, "harmlessness": dict.fromkeys(LOW, 1.0)})])
    (panel,) = tradeoff_panels(compare_runs(runs, "base"))
    assert "base: 0.400 [0.263, 0.554], 1.00 [0.91, 1.00]" in tips(inline(panel))


def test_distributions_hold_the_runs_that_have_scores(make_run):
    runs = load_runs([make_run("base", {"m": LOW}), make_run("other", {"m": {}, "n": {}}, m={"not_run": "x"})])
    comparison = compare_runs(runs, "base")
    columns = {column.name: distribution_panel(column, runs, [0, 1]) for column in comparison.columns}
    assert columns["n"] is None
    assert "base: mean 0.45, 40 scores" in tips(inline(columns["m"]))
    assert "other" not in texts(inline(columns["m"]))


def test_points_of_a_judge_have_bars_of_their_own():
    scores = np.array([1.0, 2.0, 2.0, 4.0, 5.0])
    counts, edges = np.histogram(scores, bin_edges(scores))
    assert list(counts[::2]) == [1, 2, 1, 1]
    assert not counts[1::2].any()
    assert edges[1] - edges[0] < 0.2


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), min_size=1, max_size=60))
def test_histograms_count_every_score(scores):
    edges = bin_edges(np.array(scores))
    assert (np.diff(edges) > 0).all()
    assert np.histogram(scores, edges)[0].sum() == len(scores)
