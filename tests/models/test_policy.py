"""An adapter goes only where its merge writes the model that was trained."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cai_lightning.models.adapters import Lora
from cai_lightning.models.policy import open_policy
from cai_lightning.run.errors import UserError


@pytest.fixture(scope="module")
def tied(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tied"
    config = AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # PEFT warns where it is refused here
@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_a_shared_embedding_is_no_target(tied, target):
    with pytest.raises(UserError, match=r"take (them|it) out of model\.lora's targets"):
        open_policy(str(tied), Lora(r=4, target_modules=[target, "q_proj"]), "float32")


def test_an_embedding_of_its_own_is_one(tiny_model):
    policy = open_policy(str(tiny_model), Lora(r=4, target_modules=["embed_tokens", "q_proj"]), "float32").eval()
    torch.manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(5, 40)[None]
    trained = policy(ids).logits
    torch.testing.assert_close(policy.merge_and_unload()(ids).logits, trained, atol=1e-3, rtol=1e-3)
