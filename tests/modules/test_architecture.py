"""Architectures that read beyond a conversation or ahead of a token, or scale their logits, are refused."""

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GraniteConfig, GraniteForCausalLM

from cai_lightning.data.batches import Example, pad
from cai_lightning.models.adapters import Lora
from cai_lightning.modules.architecture import check_architecture
from cai_lightning.modules.sft import SupervisedFineTuning
from cai_lightning.run.errors import UserError

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
ARCHITECTURES = {
    "llama": {},
    "gpt_neox": {},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 64},  # its convolution runs on
    "nemotron": {},  # drops the boundaries on their way to its attention
    "bloom": {},  # these three have attention code of their own
    "falcon": {},
    "gpt_neo": {"attention_types": [[["global"], 2]]},
}
LEAKS = {"lfm2", "nemotron", "bloom", "falcon", "gpt_neo"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with a small model of each architecture, made when first asked for."""

    def folder(name):
        path = tmp_path_factory.getbasetemp() / "architectures" / name
        if not path.exists():
            torch.manual_seed(0)
            config = AutoConfig.for_model(name, **SIZES, **ARCHITECTURES[name])
            AutoModelForCausalLM.from_config(config).save_pretrained(path)
        return path

    return folder


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_leaks_is_refused_where_conversations_are_packed(models, name, packing):
    tuning = SupervisedFineTuning(str(models(name)), Lora(r=4), base_dtype="float32")
    tuning.configure_model()
    refused = packing and name in LEAKS
    with pytest.raises(UserError, match=r"set data\.packing to false") if refused else nullcontext():
        check_architecture(tuning.base, tuning.hidden_states, packing)
    assert tuning.policy.training


def test_an_architecture_that_sees_ahead_is_refused(models):
    tuning = SupervisedFineTuning(str(models("bloom")), base_dtype="float32", attn_implementation="packed")
    tuning.configure_model()
    with pytest.raises(UserError, match="sees the tokens that it is to predict"):
        check_architecture(tuning.base, tuning.hidden_states, packing=False)


@pytest.mark.parametrize("scaling", [1.0, 8.0])
def test_an_architecture_that_scales_its_logits_is_refused(scaling):
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, logits_scaling=scaling, initializer_range=1.0,
    )  # fmt: skip
    model = GraniteForCausalLM(config)

    def hidden_states(batch):
        return model.model(batch["input_ids"], batch["attention_mask"]).last_hidden_state

    with pytest.raises(UserError, match="does more to its logits") if scaling != 1 else nullcontext():
        check_architecture(model, hidden_states, packing=False)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_padded_conversation_has_the_models_own_loss(models, name):
    tuning = SupervisedFineTuning(str(models(name)), Lora(r=4), base_dtype="float32")
    tuning.configure_model()
    ids = [list(range(5, 40)), list(range(60, 80))]
    examples = [Example("", row, row, truncated=False) for row in ids]
    loss, tokens = tuning.summed_loss(pad(examples, 1, filling=0))
    plain = AutoModelForCausalLM.from_pretrained(models(name), dtype=torch.float32)
    own = [plain(torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1) for row in ids]
    torch.testing.assert_close(loss / tokens, sum(own) / tokens, atol=1e-4, rtol=1e-4)


def test_fit_refuses_before_the_first_step(experiment, models, tiny_model, capsys):
    experiment.write_revisions()
    folder = models("lfm2")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    assert experiment("fit", "--model.model", folder) == 1
    assert "carries over from one packed conversation into the next" in capsys.readouterr().err
    assert not (experiment.run / "adapter").exists()
    assert experiment("fit", "--model.model", folder, "--data.packing", "false", "--trainer.max_epochs", 1) == 0
