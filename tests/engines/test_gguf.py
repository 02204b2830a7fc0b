"""A model in a `.gguf` file is the model in a folder: the same logits, trained, exported and refused alike."""

import json
import re
import runpy
import shutil
from contextlib import suppress
from pathlib import Path

import gguf
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

from cai_lightning.cli.main import main
from cai_lightning.engines import VLLMEngine
from cai_lightning.models.hub import load_config, load_model, load_tokenizer, revision, weights_revision
from cai_lightning.run.errors import UserError

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What llama.cpp calls the parts of a layer."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """A small Llama of random weights with the tokenizer and the template of the tiny model."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    state = json.loads(AutoTokenizer.from_pretrained(tiny_model).backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"] | {token["content"]: token["id"] for token in state["added_tokens"]}
    tokenizer = GPT2Tokenizer(
        vocab=vocabulary, merges=list(map(tuple, state["model"]["merges"])), unk_token=None, bos_token=None,
        eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = AutoTokenizer.from_pretrained(tiny_model).chat_template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(folder):
    return write_gguf(folder, folder.parent / "tiny.gguf")


def write_gguf(folder, path, without=()):
    """The model of a folder as llama.cpp's own converter would write it."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in tokens])
    writer.add_token_merges(
        [" ".join(pair) for pair in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
    )
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight" and name not in without:
            heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
            turned = re.search(r"\.([qk])_proj", name)
            writer.add_tensor(named(name), (interleaved(tensor, heads[turned[1]]) if turned else tensor).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def named(name):
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    if layer:
        return f"blk.{layer[1]}.{NAMES[layer[2]]}.weight"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]


def interleaved(weight, heads):
    """llama.cpp rotates neighbours, and not the halves of a head."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape).contiguous()


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


def test_logits_tokens_and_template_are_those_of_the_folder(folder, file):
    ours, theirs = load_tokenizer(str(file)), load_tokenizer(str(folder))
    talk = [{"role": "user", "content": "Tell me how to bake 12 loaves,  é 😀\n\n<|im_end|> and sell them."}]
    wording = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": False}
    ids = ours.apply_chat_template(talk, **wording)
    assert ids.tolist() == theirs.apply_chat_template(talk, **wording).tolist()
    assert (ours.eos_token, ours.pad_token) == (theirs.eos_token, theirs.pad_token)
    model = load_model(str(file), "float32")
    assert torch.equal(logits(model, ids), logits(load_model(str(folder), "float32"), ids))
    assert model.name_or_path == model.config.name_or_path == load_config(str(file)).name_or_path == str(file)
    assert load_model(str(file)).dtype == torch.bfloat16


def test_the_file_is_known_by_its_content(file, tmp_path):
    copy = shutil.copy(file, tmp_path / "copy.gguf")
    assert revision(str(file)) == weights_revision(str(file)) == weights_revision(str(copy))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert len(weights_revision(str(copy))) == 16
    assert revision(str(copy)) != revision(str(file))


@pytest.fixture
def settings(file, experiment):
    """The tiny experiment, on the file."""
    for verb, place in (("predict", "engine"), ("validate", "engine")):
        experiment.sections[verb]["model"]["init_args"][place]["init_args"]["model"] = str(file)
    experiment.sections["fit"]["model"]["init_args"]["model"] = str(file)
    experiment.save()
    return experiment


def test_predict_fit_validate_and_export_take_it(settings, file, tmp_path, capsys):
    assert settings("predict", "--data.limit", 8) == 0, capsys.readouterr().err
    settings.write_revisions()
    assert settings("fit") == 0, capsys.readouterr().err
    assert settings("validate", "--model.adapter", "run", "--data.limit", 20) == 0, capsys.readouterr().err
    assert len(settings.rows("responses.jsonl")) > 1
    adapter = settings.run / "adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(file)
    assert json.loads((adapter / "base_fingerprint.json").read_text())["weights"] == weights_revision(str(file))

    for out, more in (("adapter", []), ("merged", ["--merge", "--dtype", "float32"])):
        assert main(["export", str(settings.run), "--output", str(tmp_path / out), *more]) == 0, capsys.readouterr().err
    ids = load_tokenizer(str(file))("How do I bake bread?", return_tensors="pt")["input_ids"]
    policy = PeftModel.from_pretrained(load_model(str(file)).float(), tmp_path / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    torch.testing.assert_close(logits(merged, ids), logits(policy, ids), rtol=0, atol=1e-3)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "vllm serve" not in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace('"path/to"', json.dumps(str(file.parent)))
    known = {}
    exec(code, known)
    assert isinstance(known["model"], PeftModel)


def test_one_cut_short_is_one_clear_error(file, tmp_path):
    cut, content = tmp_path / "cut.gguf", file.read_bytes()
    lengths = [0, 3, 24, 100, *range(1000, len(content), len(content) // 23), len(content) - 1]
    for length in lengths:
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.gguf") as caught:
            load_model(str(cut))
        assert "\n" not in str(caught.value)
        for opened in (load_config, load_tokenizer):
            with suppress(UserError):  # what they read may be whole
                opened(str(cut))


@pytest.mark.parametrize("lost", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_missing_tensors_are_an_error(folder, tmp_path, lost):
    file = write_gguf(folder, tmp_path / "lacking.gguf", without=[lost])
    with pytest.raises(UserError, match="lack"):
        load_model(str(file))


def test_what_cannot_be_is_refused(file, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such file"):
        load_model(str(tmp_path / "none.gguf"))
    with pytest.raises(UserError, match="quantized anew"):
        load_model(str(file), quantization_config=object())
    with pytest.raises(UserError, match="vLLM reads no"):
        VLLMEngine(str(file)).start(torch.device("cpu"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'cai_lightning[gguf]'")):
        load_tokenizer(str(file))


def test_it_becomes_a_folder(file, tmp_path, monkeypatch):
    package, made = tmp_path / "carrier", tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError")
    shutil.copy(file, package / "m.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.argv", ["convert_gguf.py", "package:carrier", str(made)])
    converter = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "convert_gguf.py"))
    converter["main"]()
    ids = load_tokenizer(str(made))("How?", return_tensors="pt")["input_ids"]
    assert torch.equal(logits(load_model(str(made)), ids), logits(load_model(str(file)), ids))
