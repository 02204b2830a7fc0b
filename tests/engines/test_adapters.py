"""What an engine serves, and what export merges, computes what base and adapter compute apart, whatever they change."""

import random
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from cai_lightning.commands.export.weights import find_weights, write_weights
from cai_lightning.engines import TransformersEngine
from cai_lightning.engines.vllm import _changes_embeddings
from cai_lightning.models.adapters import shared_targets
from cai_lightning.models.hub import load_model
from cai_lightning.run.errors import UserError

LAYERS = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
ENDS = ["embed_tokens", "lm_head"]
IDS = torch.arange(5, 45)[None]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]


@pytest.fixture(scope="module")
def bases(tiny_model, tmp_path_factory):
    """The tiny model, whose head is its own, and one whose embeddings are its head."""
    tied = shutil.copytree(tiny_model, tmp_path_factory.mktemp("models") / "tied")
    config = AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True)
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(tied)
    return [tiny_model, tied]


def random_adapter(base, run, seed):
    """An adapter of random shape and weights; whether it changes the embeddings or the head."""
    draw = random.Random(seed)
    targets = draw.sample(LAYERS, draw.randint(1, 3)) + draw.choice([[], [], ENDS[:1], ENDS[1:], ENDS])
    free = [name for name in ENDS if name not in targets]
    saved = draw.sample(free, 1) if free and draw.random() < 0.3 else None
    config = LoraConfig(
        r=draw.randint(1, 8),
        lora_alpha=draw.randint(1, 16),
        target_modules=targets,
        modules_to_save=saved,
        use_rslora=draw.random() < 0.5,
        use_dora=draw.random() < 0.3,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    policy = get_peft_model(load_model(str(base), "float32"), config)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    policy.save_pretrained(run / "adapter")
    return bool(saved or set(targets) & set(ENDS))


@pytest.mark.parametrize("seed", range(16))
def test_merged_or_not_the_logits_are_those_of_base_and_adapter(bases, seed, tmp_path):
    base, is_tied = bases[seed % 2], bool(seed % 2)
    changed = random_adapter(base, tmp_path, seed)
    apart = PeftModel.from_pretrained(load_model(str(base), "float32"), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = apart(IDS).logits
        assert bool(shared_targets(apart)) == (changed and is_tied)
        assert _changes_embeddings(tmp_path / "adapter") == changed
        engine = TransformersEngine(str(base), dtype="float32")
        engine.start(torch.device("cpu"), tmp_path / "adapter")
        torch.testing.assert_close(engine._batch.policy(IDS).logits, expected, atol=1e-3, rtol=1e-3)
        weights = find_weights(tmp_path, merge=True)
        (tmp_path / "out").mkdir()
        if changed and is_tied:
            with pytest.raises(UserError, match=r"the update would change both. Export without --merge"):
                write_weights(weights, tmp_path / "out", "auto")
            return
        write_weights(weights, tmp_path / "out", "auto")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
        torch.testing.assert_close(merged(IDS).logits, expected, atol=1e-3, rtol=1e-3)
