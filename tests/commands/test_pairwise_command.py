"""Two runs before a judge: each pair once, whatever happens in between, and counts that add up."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from judges import DIGEST, judging, said, texts
from servers import Answer, error

from cai_lightning.cli.main import main
from cai_lightning.commands.pairwise import content, summarize
from cai_lightning.run import jsonl
from cai_lightning.run.records import Judgement, Response

METRICS = {"m": {"direction": "higher"}}


def longest(request, headers=None):
    a, b = (text for _, text in texts(request)[-2:])
    better = "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
    return said({"rationale": "by length", "better": better})


def write_run(folder, responses, adapter="new", prompts=None):
    folder.mkdir(parents=True)
    rows = [vars(Response(id, f"prompt {id}", text, None, "stop", "tiny", adapter)) for id, text in responses.items()]
    stale = [{**row, "adapter": "old", "response": "stale"} for row in rows[:1]]
    jsonl.write(folder / "responses.jsonl", [*stale, *rows])
    (folder / "summary.json").write_text(json.dumps({"metrics": METRICS, "adapter": adapter, "prompts": prompts}))
    return folder


@pytest.fixture
def runs(tmp_path):
    ours = {f"{n:02}": "x" * (n + 1) for n in range(20)} | {"only": "ours"}
    theirs = {f"{n:02}": "y" * (20 - n) for n in range(20)} | {"00": "x"}
    return write_run(tmp_path / "ours", ours), write_run(tmp_path / "theirs", theirs, adapter=None)


def compare(runs, server, *options):
    url = ["--judge.base_url", server.root, "--judge.max_retries", "0"]
    return main(["pairwise", *map(str, runs), *url, *options])


def test_the_verdicts_and_what_they_come_to(runs, capsys):
    with judging(longest) as server:
        assert compare(runs, server) == 0
    folder = runs[0] / "pairwise" / "theirs"
    rows = [row for _, row in jsonl.read_lines(folder / "pairwise.jsonl")]
    assert [row["id"] for row in rows] == [f"{n:02}" for n in range(20)]
    assert len(server.asked) == 38
    assert Counter(row["preferred"] for row in rows) == {"first": 10, "second": 9, "tie": 1}
    found = json.loads((folder / "pairwise.json").read_text())
    assert found["win_rate"] == pytest.approx(10.5 / 20)
    assert found["ci95"][0] < 0.525 < found["ci95"][1]
    expected = {"pairs": 20, "wins": 10, "ties": 1, "losses": 9, "identical": 1, "unscored": 0, "left_out": 1}
    assert expected.items() <= found.items()
    assert (found["run"], found["other"], found["position_consistency"]) == ("ours", "theirs", 1.0)
    assert found["judge"]["model"] == "llama3.1"
    assert found["revision"].startswith(f"llama3.1@{DIGEST}, rubric ")
    told = capsys.readouterr().out
    assert "ours against theirs: 10 wins, 1 ties, 9 losses" in told
    assert "win rate 0.525" in told
    assert "1 responses have no partner" in told


def test_started_again_it_asks_for_nothing_twice(runs):
    with judging(longest) as server:
        assert compare(runs, server) == 0
        asked = len(server.asked)
        assert compare(runs, server) == 0
        assert len(server.asked) == asked
        assert compare(runs, server, "--judge.num_predict", "300") == 0
        assert len(server.asked) == 2 * asked


def test_only_prompts_of_the_summary_are_judged(runs, tmp_path):
    """A validation with a limit leaves responses of earlier ones in the file; its summary names its own prompts."""
    few = [f"{n:02}" for n in range(5)]
    limited = write_run(tmp_path / "few", {f"{n:02}": "z" * 9 for n in range(20)}, prompts=few)
    with judging(longest) as server:
        assert compare([runs[0], limited], server) == 0
    folder = runs[0] / "pairwise" / "few"
    assert [row["id"] for _, row in jsonl.read_lines(folder / "pairwise.jsonl")] == few
    found = json.loads((folder / "pairwise.json").read_text())
    assert (found["pairs"], found["left_out"]) == (5, 16)


def test_compare_knows_the_runs_that_were_judged(runs, tmp_path, capsys):
    with judging(longest) as server:
        assert compare(runs, server) == 0
    for n, run in enumerate(runs):
        jsonl.write(run / "scores.jsonl", [{"id": "01", "metric": "m", "score": n, "adapter": ("new", None)[n]}])
    path = runs[0] / "pairwise" / "theirs" / "pairwise.json"
    assert main(["compare", *map(str, runs), "--pairwise", str(path), "--output", str(tmp_path / "report")]) == 0
    (found,) = json.loads((tmp_path / "report" / "summary.json").read_text())["win_rates"]
    assert (found["run"], found["other"], found["wins"], found["losses"]) == ("ours", "theirs", 10, 9)
    rows = list(jsonl.read(runs[1] / "responses.jsonl").values())
    jsonl.write(runs[1] / "responses.jsonl", [row | {"response": "something else"} for row in rows])
    assert main(["compare", *map(str, runs), "--pairwise", str(path), "--output", str(tmp_path / "report")]) == 0
    assert "not shown, for it is about other responses" in " ".join(capsys.readouterr().out.split())


def test_broken_off_it_goes_on(runs, capsys):
    left = iter(range(9))

    def script(request, headers):
        return error(401, "no more") if next(left, None) is None else longest(request)

    with judging(script) as server:
        assert compare(runs, server, "--judge.concurrency", "1") == 1
    assert "status 401" in capsys.readouterr().err
    path = runs[0] / "pairwise" / "theirs" / "pairwise.jsonl"
    done = len(jsonl.read(path))
    assert done == 5
    assert not path.with_suffix(".json").exists()
    with judging(longest) as server:
        assert compare(runs, server) == 0
        assert len(server.asked) == 2 * (20 - done)
    assert len(jsonl.read(path)) == 20


def test_unscored_pairs_are_counted_and_tried_again(runs, capsys):
    def script(request, headers):
        return said("no") if texts(request)[-2][1] == "x" * 5 else longest(request)

    with judging(script) as server:
        assert compare(runs, server, "--judge.tries", "1") == 0
    path = runs[0] / "pairwise" / "theirs" / "pairwise.json"
    found = json.loads(path.read_text())
    assert (found["pairs"], found["unscored"], sum(found["reasons"].values())) == (20, 1, 1)
    assert found["wins"] + found["ties"] + found["losses"] == 19
    assert "1 unscored: no valid verdict in 1 tries" in capsys.readouterr().out
    with judging(longest) as server:
        assert compare(runs, server, "--judge.tries", "1") == 0
        assert len(server.asked) == 2
    assert json.loads(path.read_text())["unscored"] == 0


def test_a_changed_response_is_judged_again(runs):
    with judging(longest) as server:
        assert compare(runs, server) == 0
        asked = len(server.asked)
        rows = [row for _, row in jsonl.read_lines(runs[1] / "responses.jsonl")]
        rows[-1]["response"] = "another"
        jsonl.write(runs[1] / "responses.jsonl", rows)
        assert compare(runs, server) == 0
        assert len(server.asked) == asked + 2


def test_what_a_user_gets_wrong_is_one_line(runs, tmp_path, capsys):
    with judging(longest, **{"/api/tags": Answer({"models": []})}) as server:
        assert compare(runs, server) == 1
        assert "ollama pull llama3.1" in capsys.readouterr().err
    stranger = write_run(tmp_path / "stranger", {"zz": "hello"})
    assert main(["pairwise", str(runs[0]), str(stranger)]) == 1
    assert "no prompt in common" in capsys.readouterr().err
    assert main(["pairwise", str(runs[0]), str(runs[0])]) == 1
    assert "named twice" in capsys.readouterr().err
    assert main(["pairwise", str(runs[0]), str(tmp_path / "absent")]) == 1
    assert "no such run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["responses.jsonl", "pairwise/theirs/pairwise.jsonl"])
def test_a_malformed_row_is_one_line(runs, name, capsys):
    with judging(longest) as server:
        assert compare(runs, server) == 0
        with (runs[0] / name).open("a") as file:
            file.write('{"id": "zz", "prompt": "p"}\n')
        assert compare(runs, server) == 1
    assert re.search(rf"{runs[0] / name}, line \d+: no '", capsys.readouterr().err)


def judgement(id, forth, back, preferred, identical=False):
    return Judgement(id, forth, back, preferred, None if preferred else "why", identical, [], "")


def test_a_result_by_hand():
    result = summarize(
        [
            judgement("a", "first", "first", "first"),
            judgement("b", "first", "second", "tie"),
            judgement("c", "tie", "tie", "tie", identical=True),
            judgement("d", "second", None, None),
            judgement("e", "second", "second", "second"),
            judgement("f", "first", "first", "first"),
        ]
    )
    assert (result.wins, result.ties, result.losses, result.identical) == (2, 2, 1, 1)
    assert result.win_rate.mean == pytest.approx(3 / 5)
    assert result.position_consistency == pytest.approx(3 / 4)
    assert result.reasons == {"why": 1}
    assert content(result)["pairs"] == 6


def counts(wins, ties, losses):
    """The win rate of so many pairs."""
    preferred = ["first"] * wins + ["tie"] * ties + ["second"] * losses
    return summarize(judgement(f"{n:04x}", side, side, side) for n, side in enumerate(preferred)).win_rate


@pytest.mark.parametrize(
    ("found", "least_width"),
    [((50, 0, 0), 0.05), ((49, 1, 0), 0.04), ((0, 50, 0), 0.2), ((9, 1, 0), 0.2), ((1, 1, 0), 0.4)],
)
def test_the_interval_of_a_win_rate_has_a_width_and_ends_where_rates_end(found, least_width):
    rate = counts(*found)
    assert 0 <= rate.low <= rate.mean <= rate.high <= 1
    assert rate.high - rate.low > least_width


@pytest.mark.parametrize("chances", [(0.02, 0.96, 0.02), (0.05, 0.9, 0.05), (0.6, 0.1, 0.3)])
def test_the_interval_of_a_win_rate_holds_the_truth_however_many_pairs_are_ties(chances):
    experiments, truth = np.random.default_rng(0).multinomial(50, chances, size=400), chances[0] + chances[1] / 2
    rates = [counts(*found) for found in experiments]
    assert np.mean([rate.low <= truth <= rate.high for rate in rates]) >= 0.93


def test_repeated_prompts_are_no_further_pairs():
    sides = ["first", "first", "second", "tie", "first", "second"] * 5
    once = summarize(judgement(f"{n:04x}", side, side, side) for n, side in enumerate(sides))
    ids = {f"{n:04x}{k}": f"{n:04x}" for n in range(len(sides)) for k in ("", " again")}
    twice = summarize([judgement(id, *[sides[int(prompt, 16)]] * 3) for id, prompt in ids.items()], ids)
    assert twice.win_rate.interval == pytest.approx(once.win_rate.interval)


def test_nothing_judged_is_no_number():
    found = content(summarize([judgement("a", None, None, None)]))
    assert (found["win_rate"], found["ci95"], found["position_consistency"], found["unscored"]) == (None, None, None, 1)
