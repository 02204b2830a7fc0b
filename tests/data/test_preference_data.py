"""Preferences are read from AI labels and people's comparisons, split by prompt, cleaned alike, and counted."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from preferences import GOOD, preference, some_preferences, write_preferences

from cai_lightning.data import PreferenceData
from cai_lightning.data.pairs import as_replies
from cai_lightning.data.preference_data import LEARNED, Comparisons
from cai_lightning.data.prompts import opening_text, part, read_prompts
from cai_lightning.models.hub import load_tokenizer
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user


@pytest.fixture
def run(tmp_path, prompts_file):
    write_preferences(tmp_path / "run" / "preferences.jsonl", some_preferences(prompts_file))
    return tmp_path / "run"


@pytest.fixture
def people(tmp_path):
    """200 comparisons of people, of prompts of their own."""
    asked = [f"\n\nHuman: Question {n}?\n\nAssistant:" for n in range(200)]
    rows = [{"chosen": f"{talk} Gladly, {n}.", "rejected": f"{talk} No."} for n, talk in enumerate(asked)]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(data, run):
    return data._read(run)


def test_each_prompt_is_in_its_part_and_none_of_the_test(run):
    found = read(PreferenceData(), run)
    assert not found.parts["test"]
    for name in LEARNED:
        assert found.parts[name]
        assert {part(opening_text(pair.opening)) for pair in found.parts[name]} == {name}
    assert found.counts["read"] == 40
    assert found.counts["held_out"] + sum(len(found.parts[name]) for name in LEARNED) == 40


def test_labels_are_clamped_where_feedback_gave_them_and_not_where_people_did(run, people):
    data = PreferenceData(clamp=(0.4, 0.6), comparisons=[Comparisons(str(people))])
    pairs = read(data, run).parts["train"]
    ours = [pair.label for pair in pairs if not pair.is_human]
    assert min(ours) == 0.4
    assert max(ours) == 0.6
    assert all(0.4 <= label <= 0.6 for label in ours)
    theirs = [pair for pair in pairs if pair.is_human]
    assert {pair.label for pair in theirs} == {0.0, 1.0}
    assert all(pair.responses[int(pair.label == 0)].startswith("Gladly") for pair in theirs)


def test_people_are_mixed_in_by_weight_in_each_part(run, people):
    found = read(PreferenceData(comparisons=[Comparisons(str(people), weight=0.5)]), run).parts
    for name in LEARNED:
        kinds = Counter(pair.is_human for pair in found[name])
        assert kinds[True] == max(1, round(0.5 * kinds[False]))
        assert all(part(opening_text(pair.opening)) == name for pair in found[name])


def test_comparisons_about_prompts_that_are_set_aside_are_left_out(run, people, prompts_file):
    tested = next(p.prompt for p in read_prompts(str(prompts_file)) if part(p.prompt) == "test")
    said = {"chosen": "Yes.", "rejected": "No."}
    row = {"turns": [user(tested)], **said}
    deep = {"turns": [user(tested), assistant("Why?"), user("So.")], **said}
    people.write_text("".join(json.dumps(one) + "\n" for one in (row, deep)))
    found = read(PreferenceData(comparisons=[Comparisons(str(people))]), run)
    assert not any(pair.is_human for name in LEARNED for pair in found.parts[name])


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        (GOOD, GOOD, "equal"),
        ("“Fine.”", '"Fine."', "equal"),
        (f"Certainly! Here's a revised response: {GOOD}", GOOD, "equal"),
        (GOOD, "", "empty"),
        ("<think>Hm", GOOD, "empty"),
    ],
)
def test_pairs_that_leave_nothing_to_compare_are_dropped_and_counted(run, prompts_file, first, second, counted):
    prompts = [p for p in read_prompts(str(prompts_file)) if part(p.prompt) != "test"]
    rows = [preference(p) for p in prompts] + [preference(prompts[0], 1, first=first, second=second)]
    write_preferences(run / "preferences.jsonl", rows)
    found = read(PreferenceData(), run)
    assert found.counts[counted] == 1
    assert sum(len(found.parts[name]) for name in LEARNED) == len(prompts)


@pytest.mark.parametrize(
    ("cut_replies", "finished", "more"), [("open", (False, True), 1), ("learn", (True, True), 1), ("drop", None, 0)]
)
def test_cut_responses_are_counted_and_learned_as_asked(run, prompts_file, cut_replies, finished, more):
    prompts = [p for p in read_prompts(str(prompts_file)) if part(p.prompt) != "test"]
    rows = [preference(p) for p in prompts] + [preference(prompts[0], 1, reasons=("length", "stop"))]
    write_preferences(run / "preferences.jsonl", rows)
    found = read(PreferenceData(cut_replies=cut_replies), run)
    assert found.counts["cut"] == 1
    pairs = {pair.id: pair for name in LEARNED for pair in found.parts[name]}
    assert len(pairs) == len(prompts) + more
    if finished:
        assert pairs[f"{prompts[0].id}.p1"].finished == finished


def test_controls_flip_labels_or_deal_them_out_anew(run, people):
    human = [Comparisons(str(people))]
    given, flipped, shuffled = (
        read(PreferenceData(labels=labels, comparisons=human), run).parts["train"]
        for labels in ("given", "flipped", "shuffled")
    )
    assert [pair.label for pair in flipped] == pytest.approx([1 - pair.label for pair in given])
    for is_human in (False, True):
        before, after = ([p.label for p in pairs if p.is_human == is_human] for pairs in (given, shuffled))
        assert sorted(before) == sorted(after)
        assert before != after
    assert [pair.responses for pair in shuffled] == [pair.responses for pair in given]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preferences": None}, "no data.comparisons"),
        ({"preferences": None, "comparisons": [Comparisons("x", 0.5)]}, "weight counts pairs for each AI label"),
        ({"clamp": (0.6, 0.4)}, "two rising numbers"),
        ({"batch_size": 0}, "data.batch_size: must be ≥ 1"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PreferenceData(**settings)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no preferences there"):
        PreferenceData().inputs(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        PreferenceData(preferences=None, comparisons=[Comparisons(str(tmp_path / "none"))]).inputs(tmp_path)


class Module:
    """What reads pairs as replies."""

    def __init__(self, model):
        self.tokenizer = load_tokenizer(str(model))

    def encode(self, comparison, max_length):
        return as_replies(self.tokenizer, comparison, max_length)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_hold_every_pair_once_and_know_how_many_a_step_has(run, people, tiny_model, packing, world):
    seen = []
    for rank in range(world):
        data = PreferenceData(comparisons=[Comparisons(str(people))], batch_size=3, max_tokens=400, packing=packing)
        data.trainer = SimpleNamespace(
            lightning_module=Module(tiny_model), default_root_dir=run, accumulate_grad_batches=2, world_size=world,
            global_rank=rank, current_epoch=0, strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )  # fmt: skip
        data.setup("fit")
        data.references["train"] = torch.arange(2.0 * len(data.pairs["train"])).view(-1, 2)
        seen.append(list(data.train_dataloader()))
        assert all(batch["input_ids"].numel() <= data.most_tokens for batch in seen[-1])
        validated = sum(len(batch["preferences"]) for batch in data.val_dataloader())
        assert validated or rank
    assert len({len(batches) for batches in seen}) == 1
    rows = sorted(int(row) // 2 for batches in seen for b in batches for row in b["references"][:, 0])
    assert rows == list(range(len(data.pairs["train"])))
    for start in range(0, len(seen[0]), 2):
        step = [batch for batches in seen for batch in batches[start : start + 2]]
        assert {batch["step_tokens"] for batch in step} == {sum(len(batch["preferences"]) for batch in step)}
    told = data.statement()
    assert "AI labels: " in told
    assert "human labels: " in told
    assert "without sharing prompts" in told
