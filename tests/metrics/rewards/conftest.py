"""The tiny reward model on disk, whole or spoilt."""

import pytest
import torch
from tiny_starling import config, save_tokenizer
from transformers import LlamaConfig, LlamaModel

from cai_lightning.metrics import RewardModel


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with nothing but the configuration and the tokenizer of a Llama."""
    folder = tmp_path_factory.mktemp("llama")
    config(save_tokenizer(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weights(base):
    """What the model card's wrapper saves: the backbone under `transformer`, the head under `v_head`."""
    torch.manual_seed(0)
    backbone = LlamaModel(LlamaConfig.from_pretrained(base))
    return {f"transformer.{key}": tensor for key, tensor in backbone.state_dict().items()} | {
        "v_head.weight": torch.randn(1, 16)
    }


@pytest.fixture
def write(tmp_path):
    def write(weights, name="pytorch_model.bin"):
        torch.save(weights, tmp_path / name)
        return tmp_path

    return write


@pytest.fixture
def starling(base, weights, write):
    def starling(**settings):
        return RewardModel(str(write(weights)), base=str(base), **{"self_test": "none", **settings})

    return starling
