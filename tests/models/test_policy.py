"""An adapter goes only where its merge writes the model that was trained; what is shared out stays so."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM

from cai_lightning.models.adapters import Lora
from cai_lightning.models.policy import open_policy, shard
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


@pytest.fixture
def mesh(tmp_path):
    """One process that shares out with nobody."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    torch.distributed.destroy_process_group()


def test_layers_that_are_shared_out_stay_so_after_a_forward_pass(tiny_model, mesh):
    policy = open_policy(str(tiny_model), Lora(r=4), "float32")
    shard(policy, mesh)
    with torch.no_grad():
        policy(torch.arange(5, 40)[None])
    layers = policy.get_base_model().model.layers
    assert all(isinstance(parameter, DTensor) for parameter in layers.parameters())
