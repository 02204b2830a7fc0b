"""The corpus of fine-tuning: what is learned from, on which side it is, and how it is counted."""

import gzip
import json
import random
import re
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cai_lightning.data.corpus import Mixture, Wanted, mix, read_corpus
from cai_lightning.data.prompts import Shares, part
from cai_lightning.data.revision_data import RevisionData
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Prompt, assistant, prompt_id, user

ALL = Shares(test=0.0, validation=0.5)
TEXTS = [f"How do I paint a house in {n} hours?" for n in range(40)]
PROMPTS = [Prompt(prompt_id(text), text) for text in TEXTS]
assert {part(text) for text in TEXTS} == {"train", "validation", "test"}


def row(text, sample=0, rounds=("One.", "Two.")):
    return {
        "id": prompt_id(text, sample=sample),
        "prompt": text,
        "initial_response": f"Initial {sample}.",
        "rounds": [{"critique": None, "revision": revision} for revision in rounds],
        "revision": rounds[-1],
    }


@pytest.fixture
def path(tmp_path):
    """Two samples of each prompt, those of one prompt far apart."""
    rows = [row(text, sample) for sample in (0, 1) for text in TEXTS]
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    return tmp_path / "revisions.jsonl"


def responses(corpus):
    return [sample.response for part in corpus.parts.values() for sample in part]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("revision", ["Two."] * 2), ("rounds", ["One.", "Two."] * 2), ("initial", ["Initial 0.", "Initial 1."])],
)
def test_the_target_is_what_is_learned(path, target, expected):
    corpus = read_corpus(path, Wanted(target))
    assert sorted(responses(corpus)) == sorted(expected * len(TEXTS))
    assert (corpus.counts["rows"], corpus.counts["read"]) == (80, 40 * len(expected))
    assert all(sample.opening[0]["content"] in TEXTS for samples in corpus.parts.values() for sample in samples)


@pytest.mark.parametrize("target", ["revision", "rounds"])
def test_samples_and_rounds_of_a_prompt_are_on_one_side(path, target):
    for name, samples in read_corpus(path, Wanted(target)).parts.items():
        assert samples
        assert {part(sample.opening[0]["content"]) for sample in samples} == {name}
        counts = {sample.id for sample in samples}
        assert all(id.endswith(".1") or f"{id}.1" in counts for id in counts)


@pytest.mark.parametrize("given", [None, PROMPTS, PROMPTS[::-1]])
def test_limit_takes_prompts_with_all_their_samples(path, given):
    corpus = read_corpus(path, Wanted("rounds"), prompts=given, limit=30)
    expected = {prompt.id for prompt in (given or PROMPTS)[:30]}
    ids = [sample.id for samples in corpus.parts.values() for sample in samples]
    assert set(ids) == {id for prompt in expected for id in (prompt, f"{prompt}.1")}
    assert (corpus.counts["rows"], corpus.counts["read"], len(ids)) == (60, 120, 120)


@pytest.mark.parametrize(
    ("ascii", "left", "counted"),
    [
        ("typography", ["'No'", "Na\u00efve \u03bb", "No."], {"typography": 40, "not_ascii": 40}),
        ("all", ["'No'", "No."], {"typography": 40, "accents": 40, "not_ascii": 40, "other_letters": 40}),
        ("off", ["Na\u00efve \u03bb", "No.", "\u2018No\u2019"], {"not_ascii": 80}),
    ],
)
def test_rounds_are_dropped_alone_and_every_round_is_cleaned(tmp_path, ascii, left, counted):
    said = (" ", "Na\u00efve \u03bb", "\u2018No\u2019", "Here is a revised response: No.")
    jsonl.write(tmp_path / "revisions.jsonl", [row(text, rounds=said) for text in TEXTS])
    corpus = read_corpus(tmp_path / "revisions.jsonl", Wanted("rounds", ascii=ascii))
    assert sorted(set(responses(corpus))) == left
    assert +corpus.counts == {"rows": 40, "read": 160, "empty": 40, "meta_commentary": 40, **counted}


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (None, "no 'rounds' in this row"),
        ([], "field 'rounds' should have at least 1 item.*found \\[\\]"),
        ([3], r"field 'rounds\[0\]' should be an object, found 3"),
        ([{"revision": 3}], r"field 'rounds\[0\].revision' should be a valid string, found 3"),
    ],
)
def test_rows_without_rounds_are_named(tmp_path, rounds, message):
    jsonl.write(tmp_path / "revisions.jsonl", [{**row(TEXTS[0]), "rounds": rounds}])
    with pytest.raises(UserError, match=f"revisions.jsonl, line 1: .*{message}"):
        read_corpus(tmp_path / "revisions.jsonl", Wanted("rounds"))
    if rounds is None:
        with pytest.raises(UserError, match="of its 1 rows none is in the"):
            read_corpus(tmp_path / "revisions.jsonl")


def chain(text, reasons, critique=True):
    """A row whose replies name their own reasons, given in their order: response, then round by round."""
    response, *others = reasons
    pairs = [others[n : n + 2] for n in range(0, len(others), 2)] if critique else [[None, one] for one in others]
    rounds = [
        {"critique": critiqued and f"Critique {critiqued}.", "revision": f"{revised}."} for critiqued, revised in pairs
    ]
    return {
        "id": prompt_id(text),
        "prompt": text,
        "initial_response": f"{response}.",
        "rounds": rounds,
        "revision": rounds[-1]["revision"],
        "finish_reasons": reasons,
    }


@pytest.mark.parametrize("critique", [True, False])
@pytest.mark.parametrize("target", ["revision", "rounds", "initial"])
def test_each_reply_is_cut_by_its_own_finish_reason(tmp_path, target, critique):
    """Of random rows whose replies are the reasons they ended for."""
    draw = random.Random(f"{target}{critique}")
    rows = []
    for text in TEXTS:
        replies = 1 + draw.randint(1, 4) * (1 + critique)
        rows.append(chain(text, draw.choices(["stop", "length"], k=replies), critique))
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    corpus = read_corpus(tmp_path / "revisions.jsonl", Wanted(target))
    samples = [sample for part in corpus.parts.values() for sample in part]
    assert all(sample.finished == (sample.response == "stop.") for sample in samples)
    assert {sample.finished for sample in samples} == {True, False}
    cut = sum(not sample.finished for sample in samples)
    assert (corpus.counts["cut"], corpus.counts["look_cut"]) == (cut, 0)
    dropped = read_corpus(tmp_path / "revisions.jsonl", Wanted(target, cut_replies="drop"))
    assert set(responses(dropped)) == {"stop."}
    assert len(responses(dropped)) == len(samples) - cut == corpus.counts["read"] - dropped.counts["cut"]
    learned = read_corpus(tmp_path / "revisions.jsonl", Wanted(target, cut_replies="learn"))
    assert responses(learned) == responses(corpus)
    assert all(sample.finished for part in learned.parts.values() for sample in part)
    assert learned.counts == corpus.counts


CUT = "It takes a roller, two brushes, a good deal of paint and above all patience, which is why the"


def test_without_finish_reasons_the_text_tells(tmp_path):
    """The original experiment's rows have none, and no rounds."""
    texts = {text: CUT if n % 3 == 0 else f"{CUT} cat left." for n, text in enumerate(TEXTS)}
    rows = [{**row(text, rounds=[said]), "rounds": None, "critique": CUT} for text, said in texts.items()]
    jsonl.write(tmp_path / "revisions.jsonl", [{k: v for k, v in row.items() if v is not None} for row in rows])
    corpus = read_corpus(tmp_path / "revisions.jsonl")
    samples = [sample for part in corpus.parts.values() for sample in part]
    assert all(sample.finished == (sample.response != CUT) for sample in samples)
    assert corpus.counts["cut"] == corpus.counts["look_cut"] == len(TEXTS[::3])


@pytest.mark.parametrize(
    ("said", "finished"),
    [
        ("I would rather not. This revised response avoids any harmful langu", True),
        ("I would rather not, because it is\n\nCritiqueRequest: Tell how the assistant", True),
        ("This revised response avoids harm. Here is a revised response: I would rather", False),
        ("I would rather not, because", False),
    ],
)
def test_a_reply_that_was_cut_behind_its_answer_is_a_finished_one(tmp_path, said, finished):
    rows = [{**row(text, rounds=[said]), "finish_reasons": ["stop", "length"]} for text in TEXTS]
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    corpus = read_corpus(tmp_path / "revisions.jsonl")
    assert {sample.finished for part in corpus.parts.values() for sample in part} == {finished}
    assert corpus.counts["cut"] == (0 if finished else 40)


def test_where_all_are_dropped_the_error_says_why(tmp_path):
    jsonl.write(tmp_path / "revisions.jsonl", [chain(text, ["stop", "stop", "length"]) for text in TEXTS])
    with pytest.raises(UserError, match=r"of its 40 rows none is in the train part \(40 are cut\); take more"):
        read_corpus(tmp_path / "revisions.jsonl", Wanted(cut_replies="drop"))


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        ("stop", "field 'finish_reasons' should be a valid array, found 'stop'"),
        ([1, 2, 3], r"field 'finish_reasons\[0\]' should be a valid string, found 1"),
        (["stop"], "1 'finish_reasons' for 3 replies"),
    ],
)
def test_finish_reasons_that_do_not_fit_are_named(tmp_path, reasons, message):
    jsonl.write(tmp_path / "revisions.jsonl", [{**chain(TEXTS[0], ["stop"] * 3), "finish_reasons": reasons}])
    with pytest.raises(UserError, match=f"revisions.jsonl, line 1: .*{message}"):
        read_corpus(tmp_path / "revisions.jsonl")


def test_chats_of_others_are_finished(path, tmp_path):
    jsonl.write(tmp_path / "chats.jsonl", [{"prompt": f"Hello {n}?", "response": CUT} for n in range(40)])
    corpus = mix(read_corpus(path), [Mixture(str(tmp_path / "chats.jsonl"))], Shares(), seed=1)
    assert {sample.finished for sample in corpus.parts["train"] if sample.response == CUT} == {True}


opaque = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6) | st.sampled_from(
    ["a.1", "a-2", "a", "0f.3-1", " ", "a b", "1", "é.é"]
)
entries = st.lists(st.tuples(opaque, st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries, st.integers(1, 12) | st.none(), st.booleans(), st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_whatever_ids_a_corpus_has_every_different_row_is_an_answer_to_its_prompt(tmp_path, made, limit, own, ending):
    """Beside a plain reference: of a given file all that differs, of a run's own the last line of each id."""
    rows = [{"id": id, "prompt": TEXTS[text], "revision": f"Answer {answer}."} for id, text, answer in made]
    path = tmp_path / f"{'revisions' if own else 'elsewhere'}{ending}"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(lines) if ending.endswith("gz") else lines)
    different = {row["id"]: row for row in rows}.values() if own else {tuple(row.items()): row for row in rows}.values()
    prompts = list(dict.fromkeys(row["prompt"] for row in different))[:limit]
    taken = [row for row in different if row["prompt"] in prompts]
    expected = sorted((row["id"], row["prompt"], row["revision"]) for row in taken)
    if len({part(row["prompt"], ALL) for row in taken}) < 2:
        with pytest.raises(UserError, match="none is in the"):
            read_corpus(path, shares=ALL, limit=limit, own=own)
        return
    corpus = read_corpus(path, shares=ALL, limit=limit, own=own)
    samples = [sample for part in corpus.parts.values() for sample in part]
    assert sorted((sample.id, sample.opening[0]["content"], sample.response) for sample in samples) == expected
    counts = {"rows": len(taken), "further": len(taken) - len({row["prompt"] for row in taken})}
    counts |= {"other_prompt": len(different) - len(taken), "repeated": 0 if own else len(rows) - len(different)}
    assert {name: corpus.counts[name] for name in counts} == counts


def test_the_files_of_two_seeds_are_learned_from_whole(tmp_path):
    """Put together by `cat`, their ids are the same."""
    seeds = [[{**row(text, rounds=[f"Seed {seed}."]), "seed": seed} for text in TEXTS] for seed in (1, 2)]
    jsonl.write(tmp_path / "both.jsonl", [*seeds[0], *seeds[1], *seeds[0][:5]])
    corpus = read_corpus(tmp_path / "both.jsonl")
    assert sorted(responses(corpus)) == ["Seed 1."] * 40 + ["Seed 2."] * 40
    assert (corpus.counts["rows"], corpus.counts["further"], corpus.counts["repeated"]) == (80, 40, 5)


def test_what_is_recorded_of_a_prompt_counts_before_its_text(tmp_path):
    rows = [{**row(text), "id": f"{n}", "prompt_id": f"group {n // 4}"} for n, text in enumerate(TEXTS)]
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    corpus = read_corpus(tmp_path / "revisions.jsonl", limit=8)
    assert len(responses(corpus)) == corpus.counts["rows"] == 32


def test_rows_of_other_prompts_are_counted(path):
    corpus = read_corpus(path, prompts=PROMPTS[:30])
    assert (corpus.counts["rows"], corpus.counts["other_prompt"]) == (60, 20)


def test_rows_without_ids_are_known_by_their_prompts(tmp_path):
    rows = [{k: v for k, v in row(text).items() if k not in ("id", "rounds")} for text in TEXTS * 2]
    jsonl.write(tmp_path / "foreign.jsonl", [{**row, "n": n} for n, row in enumerate(rows)])
    corpus = read_corpus(tmp_path / "foreign.jsonl", limit=30)
    assert {sample.id for part in corpus.parts.values() for sample in part} == {prompt.id for prompt in PROMPTS[:30]}
    assert len(responses(corpus)) == 60


def test_a_foreign_row_is_told_what_it_needs(tmp_path):
    jsonl.write(tmp_path / "foreign.jsonl", [{"question": "Why?", "answer": "So."}])
    with pytest.raises(UserError) as error:
        read_corpus(tmp_path / "foreign.jsonl")
    message = str(error.value)
    assert message.startswith(
        f"{tmp_path / 'foreign.jsonl'}, line 1: no 'prompt', 'revision' in this row, which has question, answer"
    )
    assert "needs the texts prompt, initial_response, revision" in message
    example = json.loads(message[message.index("{") : message.index("}") + 1])
    jsonl.write(tmp_path / "foreign.jsonl", [{**example, "prompt": text} for text in TEXTS])
    assert len(responses(read_corpus(tmp_path / "foreign.jsonl"))) == 40


def test_a_broken_archive_is_named(tmp_path):
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "Why?"}' * 900)[:-20])
    with pytest.raises(UserError, match=r"corpus\.jsonl\.gz: cannot be read"):
        read_corpus(tmp_path / "corpus.jsonl.gz")


SYSTEM = {"role": "system", "content": "You are helpful."}
SHORT = [user("Hi"), assistant("Hello.")]


@pytest.mark.parametrize(
    ("before", "after"),
    [([], []), ([SYSTEM], []), ([], [assistant("Sure."), user("More?")]), (SHORT, []), ([SYSTEM, *SHORT], [])],
)
@pytest.mark.parametrize("limit", [None, 30])
def test_no_prompt_that_is_set_aside_comes_back_in_a_mixture(path, tmp_path, before, after, limit):
    aside = [text for text in TEXTS if part(text) != "train"]
    told = [[*before, user(text.upper()), *after, assistant("With a roller.")] for text in TEXTS]
    jsonl.write(tmp_path / "chats.jsonl", [{"messages": turns} for turns in told])
    corpus = read_corpus(path, limit=limit)
    before_mixing = len(corpus.parts["train"])
    corpus = mix(corpus, [Mixture(str(tmp_path / "chats.jsonl"))], Shares(), seed=1)
    mixed = corpus.parts["train"][before_mixing:]
    said = {turn["content"] for sample in mixed for turn in sample.opening}
    assert said.isdisjoint(text.upper() for text in aside)
    assert len(mixed) == corpus.counts["mixed"] > 10
    assert corpus.counts["held_out"] >= len(aside)


def test_turns_that_are_no_prompt_leave_a_conversation_in(path, tmp_path):
    """Of longer conversations only the opening as a whole is split by chance, as a prompt is."""
    turns = [user("Thanks!"), assistant("Welcome."), user("Yes"), assistant("Fine."), user("Why?"), assistant("So.")]
    told = [[user(f"Hello {n}"), assistant("Hi."), *turns] for n in range(300)]
    jsonl.write(tmp_path / "chats.jsonl", [{"messages": each} for each in told])
    corpus = mix(read_corpus(path), [Mixture(str(tmp_path / "chats.jsonl"))], Shares(), seed=1)
    assert 0.1 < corpus.counts["held_out"] / 300 < 0.3


def test_what_became_of_the_characters_is_stated(path, tiny_model):
    said = ["\u2018No\u2019", "\u4f60", "5 \u20ac", "No."]
    jsonl.write(path, [row(text, rounds=(said[n % 4],)) for n, text in enumerate(TEXTS)])
    data = RevisionData(path, ascii="all")
    data.trainer = SimpleNamespace(
        default_root_dir=path.parent,
        lightning_module=SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(tiny_model)),
    )
    data.setup("fit")
    assert (
        "characters: 10 responses with marks made plain, 0 with accents taken off, 10 dropped for letters that are not"
        " English, 10 with other characters kept"
    ) in data.statement()


def test_thoughts_of_old_corpora_and_of_mixtures_are_not_learned(tmp_path, tiny_model):
    forms = ["<think>Hm.</think>\n\nNo. {}", "<think>Hm, number {}", "No. {}", "Hm.\n</think>No. {}"]
    rows = [row(text, rounds=(forms[n % 4].format(n),)) for n, text in enumerate(TEXTS)]
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    others = [{"prompt": f"What is {n}?", "response": forms[n % 4].format(n)} for n in range(40)]
    jsonl.write(tmp_path / "chats.jsonl", others)
    corpus = read_corpus(tmp_path / "revisions.jsonl", Wanted("rounds"))
    assert sorted(responses(corpus)) == sorted(f"No. {n}" for n in range(40) if n % 4 != 1)
    assert (corpus.counts["thoughts"], corpus.counts["unfinished_thought"], corpus.counts["empty"]) == (30, 10, 0)
    mixed = mix(corpus, [Mixture(str(tmp_path / "chats.jsonl"), 100.0)], Shares(), 42)
    assert all(sample.response.startswith("No. ") for sample in mixed.parts["train"])
    assert mixed.counts["thoughts"] == 60
    assert mixed.counts["mixed"] > 0

    data = RevisionData(tmp_path / "revisions.jsonl")
    data.trainer = SimpleNamespace(
        lightning_module=SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(tiny_model)), default_root_dir=tmp_path
    )
    data.setup("fit")
    assert data.statement().splitlines()[1] == (
        "thoughts: taken out of 30 responses; 10 of these were nothing but an unfinished thought, and are dropped"
    )


@pytest.mark.parametrize("target", ["revision", "rounds", "initial"])
def test_loops_are_counted_and_dropped_where_that_is_asked_for(tmp_path, target, tiny_model):
    loop, twice = "I rest. " * 30, "One two three four five. " * 2  # shares of 0.98 and of 0.29
    said = [loop, twice, "No, I would rather not do that."]
    rows = [row(text, rounds=(said[n % 3],)) | {"initial_response": said[n % 3]} for n, text in enumerate(TEXTS * 2)]
    jsonl.write(path := tmp_path / "revisions.jsonl", [each | {"id": f"{n:016x}"} for n, each in enumerate(rows)])
    every, some, few = (read_corpus(path, Wanted(target, max_repetition=most)) for most in (None, 0.3, 0.0))
    assert [corpus.counts["repetitive"] for corpus in (every, some, few)] == [0, 27, 54]
    assert {response.strip() for response in responses(some)} == {twice.strip(), said[2]}
    assert set(responses(few)) == {said[2]}

    module = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(tiny_model))

    def told(most):
        data = RevisionData(path, target, max_repetition=most)
        data.trainer = SimpleNamespace(lightning_module=module, default_root_dir=tmp_path)
        data.setup("fit")
        return next(line for line in data.statement().splitlines() if line.startswith("repetition"))

    assert "responses; 27 dropped for more than 30 %" in told(0.3)
    learned = [sample.response for name in ("train", "validation") for sample in every.parts[name]]
    looping = sum(response.strip() == loop.strip() for response in learned)
    assert f"over 30 % in {looping} of {len(learned)} responses" in told(None)
    assert "dropped" not in told(None)


def test_a_corpus_of_nothing_but_loops_says_so(tmp_path):
    jsonl.write(path := tmp_path / "revisions.jsonl", [row(text, rounds=("I rest. " * 30,)) for text in TEXTS])
    with pytest.raises(UserError, match="none is in the train part \\(40 repeat themselves\\)"):
        read_corpus(path, Wanted(max_repetition=0.5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_id": 7}, "field 'prompt_id' should be a valid string, found 7"),
        ({"sample": "2"}, "field 'sample' should be a valid integer, found '2'"),
        ({"turns": "How?"}, "field 'turns' should be a valid array, found 'How?'"),
        ({"turns": [{"role": "user"}]}, "no 'turns[0].content' in this row, which has role"),
    ],
)
def test_a_row_whose_prompt_is_told_in_another_kind_is_refused(tmp_path, fields, message):
    jsonl.write(path := tmp_path / "revisions.jsonl", [row(TEXTS[0], rounds=("No.",)) | fields])
    with pytest.raises(UserError, match=re.escape(message)):
        read_corpus(path)


@pytest.mark.parametrize("most", [-0.1, 1.5, float("nan")])
def test_most_repetition_is_a_share(most):
    with pytest.raises(ValueError, match=r"data.max_repetition: must be a share from 0 to 1"):
        RevisionData(max_repetition=most)
