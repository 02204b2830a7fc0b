"""A checkpoint in Starling's layout is whole, or is refused by the name of what is wrong with it."""

import json

import pytest
import torch
from tiny_starling import CPU, RESPONSES, card, plainly, scores

from cai_lightning.metrics import RewardModel
from cai_lightning.run.errors import UserError


@pytest.mark.parametrize("absent", ["transformer.layers.1.mlp.up_proj.weight", "v_head.weight"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(base, weights, write, absent):
    folder = write({key: tensor for key, tensor in weights.items() if key != absent})
    with pytest.raises(UserError, match=rf"lacks {absent} \(1 in all\)"):
        RewardModel(str(folder), base=str(base)).load(CPU)


def test_a_tensor_too_many_is_refused_by_name(base, weights, write):
    folder = write(weights | {"transformer.layers.2.mlp.up_proj.weight": torch.zeros(24, 16)})
    with pytest.raises(UserError, match=r"no place for transformer\.layers\.2\.mlp\.up_proj\.weight \(1 in all\)"):
        RewardModel(str(folder), base=str(base)).load(CPU)


def test_a_tensor_of_another_shape_is_refused_by_name(base, weights, write):
    folder = write(weights | {"v_head.weight": torch.zeros(2, 16)})
    with pytest.raises(UserError, match=r"in the shape of v_head\.weight \(2, 16\)"):
        RewardModel(str(folder), base=str(base)).load(CPU)


def test_what_the_cards_wrapper_saves_twice_or_never_uses_is_no_surplus(base, weights, write):
    twice = {key.replace("transformer.", "model.model."): tensor for key, tensor in weights.items() if "trans" in key}
    unused = {
        "model.lm_head.weight": torch.zeros(330, 16),
        "transformer.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
    }
    found = scores(RewardModel(str(write(weights | twice | unused)), base=str(base), self_test="none"), RESPONSES)
    expected = plainly(base, weights, card(RESPONSES[0].prompt, RESPONSES[0].response))
    assert found.values["helpfulness"][0].item() == pytest.approx(expected, abs=1e-5)


def test_two_tensors_that_claim_one_place_are_refused(base, weights, write):
    folder = write(weights | {"model.model.norm.weight": torch.zeros(16)})
    with pytest.raises(UserError, match=r"model\.model\.norm\.weight is not equal to transformer\.norm\.weight"):
        RewardModel(str(folder), base=str(base)).load(CPU)


def test_a_single_pt_file_and_shards_with_an_index_are_read_too(base, weights, write, starling):
    expected = scores(starling(), RESPONSES).values["helpfulness"]
    folder = write({})
    (folder / "pytorch_model.bin").unlink()
    write(weights, "reward.pt")
    alone = RewardModel(str(folder), base=str(base), self_test="none")
    assert torch.equal(scores(alone, RESPONSES).values["helpfulness"], expected)
    parts = {f"pytorch_model-0000{n}-of-00002.bin": dict(list(weights.items())[n - 1 :: 2]) for n in (1, 2)}
    for name, part in parts.items():
        write(part, name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert torch.equal(scores(alone, RESPONSES).values["helpfulness"], expected)


def test_an_index_that_leaves_its_folder_is_refused(base, weights, write):
    folder = write(weights)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"v_head.weight": "../secret.bin"}}))
    with pytest.raises(UserError, match=r"index\.json: '\.\./secret\.bin' is no file beside it"):
        RewardModel(str(folder), base=str(base)).load(CPU)


class Trap:
    def __reduce__(self):
        return print, ("the pickle was run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"v_head.weight": Trap()}, "cannot be opened.*Weights only load failed"),
        ({"state_dict": {}}, r"expected tensors by name, found dict by 'state_dict'"),
        (torch.zeros(2), "expected tensors by name, found Tensor"),
        ({1: torch.zeros(2)}, "expected tensors by name, found Tensor by 1"),
    ],
)
def test_a_pickle_of_more_than_weights_is_refused(base, write, content, message, capsys):
    with pytest.raises(UserError, match=message):
        RewardModel(str(write(content)), base=str(base)).load(CPU)
    assert "the pickle was run" not in capsys.readouterr().out


@pytest.mark.parametrize("length", [0, 10, -500])
def test_a_file_that_is_cut_short_is_refused(base, weights, write, length):
    path = write(weights) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        RewardModel(str(path.parent), base=str(base)).load(CPU)


def test_a_folder_without_weights_or_with_several_is_refused(base, weights, write, tmp_path):
    metric = RewardModel(str(tmp_path), base=str(base))
    with pytest.raises(UserError, match=r"expected pytorch_model\.bin or a single \*\.pt, found none"):
        metric.load(CPU)
    write(weights, "a.pt"), write(weights, "b.pt")
    with pytest.raises(UserError, match=r"found a\.pt, b\.pt"):
        metric.load(CPU)
