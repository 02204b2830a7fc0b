"""`compare --pairwise`: what a judge prefers stands in a table, and only of the responses that it has seen."""

import json

import pytest

from cai_lightning.cli.main import main
from cai_lightning.report.evidence import read_win_rates
from cai_lightning.report.runs import load_runs, responses_digest
from cai_lightning.run.errors import UserError

IDS = [f"{n:04x}" for n in range(12)]
SCORES = {id: n / 12 for n, id in enumerate(IDS)}
NAN, INFINITE, HUGE = float("nan"), float("inf"), 10**400
HOSTILE = "[red]judge <b>\x1b[31m"


@pytest.fixture
def paths(make_run):
    return [make_run(name, {"m": SCORES}, responses=dict.fromkeys(IDS, f"by {name}")) for name in ("base", "tuned@1")]


@pytest.fixture
def judged(tmp_path, paths):
    """Writes what a judge has said of the second run against the first, with some changes."""
    base, tuned = (responses_digest(run.responses) for run in load_runs(paths))

    def write(name="pairwise.json", **changes):
        found = {
            "run": "any name",
            "other": "another",
            "judge": {"model": HOSTILE},
            "wins": 6,
            "ties": 3,
            "losses": 2,
            "unscored": 1,
            "win_rate": 7.5 / 11,
            "ci95": [0.45, 0.85],
            "position_consistency": 0.9,
            "responses": [tuned, base],
        }
        path = tmp_path / name
        path.write_text(json.dumps(found | changes))
        return path

    return write


def test_runs_are_told_by_their_responses(paths, judged):
    (rate,), notes = read_win_rates([judged()], load_runs(paths))
    assert (rate.run, rate.other, notes) == ("tuned@1", "base", [])
    found = rate.found
    assert (found.wins, found.ties, found.losses, found.unscored, found.position_consistency) == (6, 3, 2, 1, 0.9)
    assert (rate.estimate.mean, rate.estimate.interval, rate.estimate.n) == (
        pytest.approx(0.682, abs=1e-3),
        [0.45, 0.85],
        11,
    )


def test_other_responses_than_those_judged_have_no_win_rate(make_run, paths, judged):
    path = judged()
    changed = make_run("base", {"m": SCORES}, responses=dict.fromkeys(IDS, "by base, again"))
    rates, notes = read_win_rates([path], load_runs([changed, paths[1]]))
    assert rates == []
    assert notes == [f"{path}: not shown, for it is about other responses than these runs have."]


def test_nothing_judged_is_no_number(paths, judged):
    nothing = {"wins": 0, "ties": 0, "losses": 0, "win_rate": None, "ci95": None, "position_consistency": None}
    (rate,), _ = read_win_rates([judged(**nothing)], load_runs(paths))
    assert (rate.estimate.mean, rate.estimate.interval, rate.found.position_consistency) == (None, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"responses": 3},
        {"responses": ["a"]},
        {"judge": None},
        *({"win_rate": value} for value in ("all", NAN, INFINITE, HUGE, 1.01, -0.01, True)),
        *({"position_consistency": value} for value in (NAN, 2)),
        *({"ci95": value} for value in ([NAN, NAN], [0.1, HUGE], [0.1], "01", 3)),
        *({"wins": value} for value in (-5, INFINITE, 1.5, None)),
        {"unscored": INFINITE},
    ],
    ids=lambda changes: f"{changes!s:.40}",
)
def test_what_is_no_win_rate_is_refused(paths, judged, changes, tmp_path):
    with pytest.raises(UserError, match=r"pairwise\.json: not the pairwise\.json that pairwise writes"):
        read_win_rates([judged(**changes)], load_runs(paths))
    with pytest.raises(UserError, match="cannot be read"):
        read_win_rates([tmp_path / "absent.json"], load_runs(paths))


def test_compare_shows_it_everywhere(paths, judged, tmp_path, capsys):
    stale = judged("stale.json", responses=["0" * 16, "1" * 16])
    output = tmp_path / "out"
    options = ["--pairwise", str(judged()), str(stale), "--output", str(output)]
    assert main(["compare", *map(str, paths), *options]) == 0
    shown = capsys.readouterr().out
    assert "Win rates before a judge" in shown
    assert "0.682 [0.450, 0.850] 6, 3, 2 1 90 %" in " ".join(shown.split())
    assert "\x1b" not in shown
    written = (output / "report.md").read_text()
    assert "| tuned@1 | base |" in written
    assert "not shown, for it is about other responses" in written
    page = (output / "index.html").read_text()
    assert '<section id="win-rates">' in page
    assert "tuned@1 against base: 0.682 [0.450, 0.850]" in page
    for text in (written, page):
        assert "judge <b>" not in text
    (found,) = json.loads((output / "summary.json").read_text())["win_rates"]
    assert (found["run"], found["estimate"], found["ci95"]) == ("tuned@1", pytest.approx(7.5 / 11), [0.45, 0.85])


def test_without_win_rates_there_is_no_table(paths, tmp_path, capsys):
    assert main(["compare", *map(str, paths), "--output", str(tmp_path / "out")]) == 0
    assert "Win rates" not in capsys.readouterr().out
    assert "win-rates" not in (tmp_path / "out" / "index.html").read_text()
