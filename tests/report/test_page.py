"""The page holds everything, needs nothing, and no text of a model is more than text in it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.report.colors import RUN_COLORS
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import read_rows
from cai_lightning.report.page import STYLES, TEMPLATES, page_data, render_page, verdict_sentence
from cai_lightning.report.runs import load_runs
from cai_lightning.run import jsonl
from cai_lightning.run.records import Response

LOW = {f"{n:04x}": n % 10 / 10 for n in range(40)}
HIGH = {id: value + 0.2 for id, value in LOW.items()}
HOSTILE = "</script><img src=x onerror=alert(1)> {{ 7 * 7 }} <!--<script>"


class Elements(HTMLParser):
    """Every tag of a page with its attributes, and the content of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.contents = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.contents.append((self.tags[-1], data))


def data_of(text):
    (data,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


@pytest.fixture(name="text")
def fixture_text(make_run):
    base = make_run("base", {"helpfulness": LOW, HOSTILE: LOW, "judge": {}}, judge={"not_run": f"why {HOSTILE}"})
    tuned = make_run("tuned <u>", {"helpfulness": HIGH | {"ff": None}, HOSTILE: HIGH})
    for run in (base, tuned):
        said = [Response(id, HOSTILE, f"{HOSTILE} {id}", None, "stop", "m", None, category=HOSTILE) for id in LOW]
        jsonl.write(run / "responses.jsonl", map(vars, said))
    runs = load_runs([base, tuned])
    return render_page(compare_runs(runs, "base"), runs, [read_rows(base), read_rows(tuned)])


def test_the_page_loads_nothing(text):
    elements = Elements(text)
    assert not [tag for tag, _ in elements.tags if tag in ("img", "iframe", "object", "embed", "base", "u")]
    links = {value for _, attributes in elements.tags for name, value in attributes.items() if name in ("href", "src")}
    assert all(link.startswith(("#", "data:,")) for link in links), links
    assert not re.search(r"url\(|@import", "".join((TEMPLATES / name).read_text() for name in STYLES))


def test_nothing_runs_but_our_script(text):
    elements = Elements(text)
    scripts = [attributes for tag, attributes in elements.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "report"}, {}]
    handlers = [
        name for _, attributes in elements.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert handlers == []


def test_the_policy_names_the_script_and_the_styles_by_their_digests(text):
    elements = Elements(text)
    (policy,) = [a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        content = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)[-1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_data_holds_every_conversation_and_each_text_once(text):
    report = data_of(text)
    assert report["runs"] == ["base", "tuned <u>"]
    assert len(report["conversations"]) == 41, "one is scored and has no response"
    assert len(report["texts"]) == len(set(report["texts"])) == 42, "a prompt, 40 responses and a reason"
    first = report["conversations"][0]
    assert report["texts"][first["responses"][1]["text"]] == f"{HOSTILE} {first['id']}"
    assert first["scores"] == [[0.0, 0.2], [0.0, 0.2], [None, None]]
    unscored = report["conversations"][-1]
    assert report["texts"][unscored["reasons"]["0,1"]] == "timeout"


def test_the_viewer_knows_which_runs_compare_in_a_column(make_run):
    other = make_run("other", {"m": HIGH, "n": HIGH}, n={"settings": "s2"})
    runs = load_runs([make_run("base", {"m": LOW, "n": LOW}), other])
    text = render_page(compare_runs(runs, "base"), runs, [{} for _ in runs])
    assert [column["compared"] for column in data_of(text)["columns"]] == [[True, True], [True, False]]


def test_the_seeds_of_an_arm_share_its_color(make_run):
    runs = load_runs([make_run(name, {"m": LOW | {"00": n}}) for n, name in enumerate(("base", "arm@1", "arm@2"))])
    comparison = compare_runs(runs, "base")
    text = render_page(comparison, runs, [{} for _ in runs])
    assert comparison.runs == ("base", "arm")
    assert re.findall(r'<li class="(run-\d)"><i class="dot">\d</i><b>([^<]*)</b>', text) == [
        ("run-0", "base"),
        ("run-1", "arm@1"),
        ("run-1", "arm@2"),
    ]
    assert data_of(text)["colors"] == ["run-0", "run-1", "run-1"]
    (spreads,) = re.findall(r'<section id="distributions">.*?</figure>', text, re.DOTALL)
    assert re.findall(r'<title>(\S+): mean.*?fill="var\(--(run-\d)\)"', spreads) == [
        ("base", "run-0"),
        ("arm@1", "run-1"),
        ("arm@2", "run-1"),
    ]
    assert "arm x2" in text


def test_the_page_has_the_colors_of_the_plots_on_light_and_on_dark_ground(text):
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    for number, (light, dark) in enumerate(RUN_COLORS):
        assert f"--run-{number}: {light};" in style.partition("@media")[0]
        assert f"--run-{number}: {dark};" in style.partition("@media")[2]
        assert f".run-{number} {{ --run: var(--run-{number}); }}" in style


def test_a_metric_has_a_plot_and_its_numbers(text):
    (metrics,) = re.findall(r'<section id="metrics">.*?</section>\s*</div>', text, re.DOTALL)
    cards = metrics.split('<section class="card')[1:]
    assert [len(re.findall("<figure>", card)) for card in cards] == [1, 1, 1]
    assert "tuned &lt;u&gt;: 0.200" in cards[0]
    assert re.search(r"<td[^>]*>tuned &lt;u&gt;</td>", cards[0])
    assert "helpfulness: unscored: tuned &lt;u&gt; 1 of 41." in cards[0]


def test_a_single_run_has_means(make_run):
    runs = load_runs([make_run("base", {"m": LOW})])
    text = render_page(compare_runs(runs, "base"), runs, [{}])
    assert "Dots are means with 95 % intervals." in text
    assert "base: 0.450 [" in text


def test_why_an_evaluator_did_not_run_is_shown(text):
    assert "not run: why &lt;/script&gt;&lt;img" in text


@given(st.text(st.characters(codec=None), max_size=30))
def test_no_text_can_end_the_data(text):
    written = page_data({"texts": [text, f"</script>{text}<!--"]})
    assert not set(written) & set("<>&'\u2028\u2029")
    assert written.isascii()
    assert json.loads(written)["texts"][0] == text


def test_thoughts_reach_the_viewer_as_data(make_run):
    paths = [make_run(name, {"m": dict.fromkeys(LOW, 0.5)}) for name in ("base", "tuned")]
    row = Response("0001", "How?", "No.", None, "stop", "m", None, thought=HOSTILE)
    for path in paths:
        jsonl.write(path / "responses.jsonl", [vars(row), vars(row) | {"id": "0002", "thought": None}])
    runs = load_runs(paths)
    made = render_page(compare_runs(runs, "base"), runs, list(map(read_rows, paths)))
    report = data_of(made)
    said = {one["id"]: one["responses"][0] for one in report["conversations"] if one["responses"][0]}
    assert report["texts"][said["0001"]["thought"]] == HOSTILE
    assert said["0002"]["thought"] is None
    assert HOSTILE not in made


def test_the_verdict_claims_no_more_than_the_intervals(make_run):
    low = dict(list(LOW.items())[:20])
    mixed = {id: value + (0.2 if n % 2 else -0.2) for n, (id, value) in enumerate(low.items())}
    high = {id: value + 0.2 for id, value in low.items()}
    base = make_run("base", {"m": low, "k": low})
    tuned = make_run("tuned", {"m": high, "k": {id: v + 0.01 for id, v in mixed.items()}})
    sentence = verdict_sentence(compare_runs(load_runs([base, tuned]), "base"))
    assert sentence.startswith("tuned comes first by mean rank")
    assert "better than base in m, not distinguishable from it in k." in sentence
    assert "nothing to compare" in verdict_sentence(compare_runs(load_runs([base]), "base"))
