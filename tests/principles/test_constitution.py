"""Constitutions: what is written is read back, and what is wrong is named with file, place and value."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_lightning.principles.constitution import Principle, open_constitution
from cai_lightning.run.errors import UserError

PRINCIPLE = {"id": "a", "critique_request": "Is it kind?", "revision_request": "Make it kind."}

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
principles = st.lists(st.builds(Principle, texts, texts, texts), min_size=1, max_size=5, unique_by=lambda p: p.id)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@settings(deadline=None)
@given(name=texts, principles=principles, indent=st.none() | st.integers(0, 4), ascii=st.booleans())
def test_a_written_constitution_is_read_back(tmp_path_factory, name, principles, indent, ascii):
    path = tmp_path_factory.mktemp("constitution") / "c.json"
    content = {"name": name, "principles": [asdict(p) for p in principles]}
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii), encoding="utf-8")
    read = open_constitution(path)
    assert (read.name, read.principles) == (name, tuple(principles))


def test_the_shipped_constitution():
    shipped = open_constitution("default")
    assert shipped.name == "default"
    assert len(shipped.principles) >= 18
    assert len({p.critique_request for p in shipped.principles}) == len(shipped.principles)


def test_the_layout_does_not_change_the_digest(write):
    plain = open_constitution(write({"name": "x", "principles": [PRINCIPLE]}))
    padded = {"principles": [{key: f" {text}\n" for key, text in reversed(PRINCIPLE.items())}], "name": "y"}
    assert open_constitution(write(json.dumps(padded, indent=4))).digest == plain.digest


def test_every_word_and_the_order_change_the_digest(write):
    def digest(*principles):
        return open_constitution(write({"name": "x", "principles": principles})).digest

    other = {**PRINCIPLE, "id": "b"}
    variants = [
        [PRINCIPLE],
        [{**PRINCIPLE, "revision_request": "Else."}],
        [other],
        [PRINCIPLE, other],
        [other, PRINCIPLE],
    ]
    assert len({digest(*variant) for variant in variants}) == len(variants)


def test_anthropics_layout_loses_its_labels(write):
    content = {
        "harmful0": {
            "prompt": ["\n\nCritiqueRequest: Is it kind?\n\nCritique:"],
            "edit_request": "\n\nRevisionRequest: Make it kind.\n\nRevision:",
        }
    }
    constitution = open_constitution(write(content))
    assert constitution.name == "mine"
    assert constitution.principles == (Principle("harmful0", "Is it kind?", "Make it kind."),)


def test_hugging_faces_layout_is_numbered(write):
    content = {"constitutions": [{"critic": "One?", "revision": "One."}, {"critic": "Two?", "revision": "Two."}]}
    assert open_constitution(write(content)).principles == (
        Principle("hf0", "One?", "One."),
        Principle("hf1", "Two?", "Two."),
    )


def test_a_byte_order_mark_does_no_harm(write):
    text = json.dumps({"name": "x", "principles": [PRINCIPLE]})
    assert open_constitution(write("\ufeff" + text)).name == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON constitution"),
        ("[]", r"expected a JSON object, found \[\]"),
        ({}, "unknown layout"),
        ({"rules": ["be kind"]}, "unknown layout.*'rules'"),
        ({"name": "x", "principles": []}, "has no principles"),
        ({"constitutions": []}, "has no principles"),
        ({"principles": [PRINCIPLE]}, "no 'name' in this row, which has principles"),
        ({"name": "x", "principles": "be kind"}, "field 'principles' should be a valid array, found 'be kind'"),
        ({"name": "x", "principles": ["be kind"]}, r"field 'principles\[0\]' should be an object, found 'be kind'"),
        ({"name": "x", "principles": [PRINCIPLE, {"id": "b"}]}, r"no 'principles\[1\].critique_request', 'principles"),
        (
            {"name": "x", "principles": [{**PRINCIPLE, "id": 7}]},
            r"'principles\[0\].id' should be a valid string",
        ),
        (
            {"name": "x", "principles": [{**PRINCIPLE, "id": " "}]},
            r"'principles\[0\].id' should have at least",
        ),
        ({"name": "x", "principles": [PRINCIPLE, PRINCIPLE]}, "2 principles have the id 'a'"),
        ({"constitutions": [{"critic": "One?"}]}, r"no 'constitutions\[0\].revision' in this row"),
        ({"h0": {"prompt": ["a", "b"], "edit_request": "c"}}, "field 'h0.prompt' should have at most 1 item"),
        ({"h0": {"prompt": ["Critique:"], "edit_request": "c"}}, "field 'h0.critique_request' should have at least 1"),
        ({"h0": {"prompt": ["a"], "edit_request": "c"}, "h1": 3}, "field 'h1' should be an object, found 3"),
        ('{"h0": {"prompt": ["a"], "edit_request": "b"}, "h0": {}}', "the key 'h0' stands more than once"),
    ],
)
def test_what_is_wrong_is_named(write, content, message):
    path = write(content)
    with pytest.raises(UserError, match=message) as caught:
        open_constitution(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: the constitution cannot be read \(No such file"):
        open_constitution(tmp_path / "absent.json")


def test_the_papers_principles(real_data):
    constitution = open_constitution(real_data / "anthropic/prompts/CritiqueRevisionInstructions.json")
    assert [p.id for p in constitution.principles] == [f"harmful{n}" for n in range(16)]
    assert not any(label in text for p in constitution.principles for text in asdict(p).values() for label in LABELS)


LABELS = ("CritiqueRequest:", "Critique:", "RevisionRequest:", "Revision:")
