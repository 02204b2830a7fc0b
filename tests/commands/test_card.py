"""The card of a base that is on the Hub, and what can be told of the files around it."""

import pytest
from huggingface_hub import ModelCard, constants

from cai_lightning.commands.export.card import licence, model_card, table
from cai_lightning.commands.export.weights import Weights


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def card_of(run, kind, name, base="Qwen/Qwen2.5-3B-Instruct", **config):
    return model_card(run, Weights(kind, run / "adapter", base, config), name)


@pytest.mark.parametrize(
    ("kind", "relation", "library"), [("adapter", "adapter", "peft"), ("merged model", "finetune", "transformers")]
)
def test_a_base_on_the_hub_is_named(tmp_path, kind, relation, library):
    card = ModelCard(card_of(tmp_path, kind, "me/kind-model", r=24, rank_pattern={"q_proj": 40}))
    assert card.data.base_model == "Qwen/Qwen2.5-3B-Instruct"
    assert card.data.to_dict()["base_model_relation"] == relation
    assert card.data.library_name == library
    assert ("--max-lora-rank 64 --lora-modules cai=me/kind-model" in card.text) == (kind == "adapter")
    assert "vllm serve" in card.text
    assert "The corpus is no longer beside the run" in card.text


@pytest.mark.parametrize("base", ["Qwen/x\nlicense: mit", "Qwen/x: y", "a/b/c", "/home/me/qwen", "~/qwen", ""])
def test_a_base_by_another_name_stays_out_of_the_front_matter(tmp_path, base):
    text = card_of(tmp_path, "adapter", "out", base)
    assert ModelCard(text).data.base_model is None
    assert "/home/me" not in text
    assert "\nlicense: mit" not in text


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: mit\n---\n# A", {"license": "mit"}),
        ("---\nlicense: other\nlicense_name: qwen\nlicense_link: http://a\ntags: [x]\n---\n", 3),
        ("---\nlicense: [mit]\n---\n", {}),
        ("---\n{: :\n---\n", {}),
        ("# No front matter\n\n---\nlicense: mit\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("", {}),
        (None, {}),
    ],
)
def test_a_licence_is_read_from_the_bases_card_or_left_out(tmp_path, card, found):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    told = licence(str(tmp_path))
    assert told == found if isinstance(found, dict) else len(told) == found


def test_the_cells_of_a_table_are_code():
    assert table([{"a": "x|y", "b": "1"}]).splitlines()[-1] == "| `x\\|y` | `1` |"
