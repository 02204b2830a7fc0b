"""`compare --audit`: what an audit found stands beside the column it is about, and beside no other."""

import json

import pytest

from cai_lightning.cli.main import main
from cai_lightning.report.evidence import notes_on, read_audits
from cai_lightning.report.runs import load_runs
from cai_lightning.run.errors import UserError

ENTRY = {
    "settings": "s1",
    "revision": None,
    "not_run": None,
    "not_applicable": None,
    "n": 438,
    "accuracy": 0.53,
    "ci95": [0.483, 0.576],
    "auc": None,
    "auc_ci95": None,
    "better_than_chance": False,
    "worse_than_chance": False,
}
SCORES = {"a": 0.1, "b": 0.3, "c": 0.2}


@pytest.fixture
def audit(tmp_path):
    """Writes an audit of the column `harm`, its entry with some changes."""

    def write(name="audit.json", labels="HHH.jsonl", **changes):
        path = tmp_path / name
        path.write_text(json.dumps({"file": labels, "metrics": {"harm": ENTRY | changes}}))
        return path

    return write


@pytest.fixture
def runs(make_run):
    paths = [make_run(name, {"harm": SCORES, "help": SCORES}) for name in ("base", "tuned")]
    return load_runs(paths)


def told(runs, *paths, column="harm"):
    return [(note.text, note.trusted) for note in notes_on(column, runs, read_audits(paths))]


def test_figures_stand_beside_the_column_they_are_about(runs, audit):
    expected = "audit by HHH.jsonl: 53.0 % [48.3, 57.6] of 438 comparisons right, NO BETTER than chance"
    assert told(runs, audit()) == [(expected, False)]
    assert told(runs, audit(), column="help") == []


@pytest.mark.parametrize(
    ("changes", "words", "trusted"),
    [
        ({"better_than_chance": True}, "comparisons right, better than chance", True),
        ({"p_holm": 0.081}, "comparisons right, NO BETTER than chance (p 0.081, corrected)", False),
        ({"worse_than_chance": True}, "comparisons right, WORSE than chance", False),
        ({"accuracy": None, "auc": 0.7, "auc_ci95": [0.6, 0.8]}, "70.0 % [60.0, 80.0] of 438 responses in", False),
        ({"accuracy": None, "not_run": "no key"}, "not run: no key", None),
        ({"accuracy": None, "not_applicable": "no reference"}, "not applicable: no reference", None),
        ({"accuracy": None}, "nothing scored", None),
        ({"settings": "s2"}, "it was of other settings", None),
        ({"settings": "s2", "revision": "r"}, "of other settings and another revision of its model", None),
    ],
)
def test_what_an_audit_can_say(runs, audit, changes, words, trusted):
    if "accuracy" in changes and changes["accuracy"] is None and "auc" not in changes:
        changes = changes | {"better_than_chance": None}
    ((text, trust),) = told(runs, audit(**changes))
    assert words in text
    assert trust is trusted


def test_an_audit_that_fits_some_runs_says_which(make_run, audit):
    runs = load_runs([make_run("base", {"harm": SCORES}), make_run("other", {"harm": SCORES}, harm={"settings": "x"})])
    ((text, _),) = told(runs, audit())
    assert "(as in base; the others have another evaluator)" in text


def test_several_audits_stand_in_their_order(runs, audit):
    texts = told(runs, audit("one.json", "one"), audit("two.json", "two"))
    assert [text.split(":")[0] for text, _ in texts] == ["audit by one", "audit by two"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"file": "x", "metrics": {"harm": {}}}', '{"file": "x", "metrics": {"harm": 3}}']
)
def test_what_is_no_audit_is_refused(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"audit\.json: not the audit\.json that audit writes"):
        read_audits([path])
    with pytest.raises(UserError, match="cannot be read"):
        read_audits([tmp_path / "absent.json"])


@pytest.mark.parametrize(
    "changes",
    [
        {name: value}
        for name, values in {
            "n": (float("inf"), -1, 1.5),
            "accuracy": (float("nan"), 10**400, 1.01),
            "p_holm": (-1, 10**400),
            "ci95": ([0.1, 10**400], [float("nan"), 0.5], [0.1]),
        }.items()
        for value in values
    ],
    ids=lambda changes: f"{changes!s:.40}",
)
def test_figures_that_cannot_be_are_refused(audit, changes):
    with pytest.raises(UserError, match=r"audit\.json: not the audit\.json that audit writes"):
        read_audits([audit(**changes)])


def test_compare_shows_it_everywhere(make_run, audit, tmp_path, capsys):
    paths = [str(make_run(name, {"harm": SCORES})) for name in ("base", "tuned")]
    hostile = audit(labels="[red]x <b>\x1b[31m")
    assert main(["compare", *paths, "--audit", str(hostile), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "NO BETTER than chance" in " ".join(shown.split())
    assert "\x1b" not in shown
    written = next(path.read_text() for path in (tmp_path / "out").glob("*.md"))
    assert "NO BETTER than chance" in written
    assert "<b>" not in written
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'class="remark warning">audit by [red]x &lt;b&gt;' in page
    (column,) = json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"].values()
    assert column["audits"][0]["trusted"] is False
