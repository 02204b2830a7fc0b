"""What export writes is what was trained: for `from_pretrained`, for vLLM, for the Hub, and nothing of it by halves."""

import json
import os
import re
import shutil

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, RepoUrl, constants
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.cli.main import main
from cai_lightning.data import RevisionData
from cai_lightning.models.adapters import save_fingerprint
from cai_lightning.models.hub import load_config
from cai_lightning.run import manifest

TOKEN = "hf_" + "x" * 34
HOSTILE = "nice\n---\nlicense: mit\n---\n# <script>alert(1)</script> `x` | y | ](http://example.org)\x1b[31m"


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_model):
    """A run with an adapter that changes the model a good deal, and the notes that the verbs leave."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    write_adapter(run, tiny_model)
    write_notes(run, str(tiny_model), "kindness")
    return run


def write_adapter(run, base, **shape):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **shape)
    policy = get_peft_model(model, config)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    policy.save_pretrained(run / "adapter")
    save_fingerprint(policy.get_base_model().config, run / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(run / "adapter")


def put_on(base, adapter):
    """Makes an adapter one of another base."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    save_fingerprint(load_config(str(base)), adapter)


def write_notes(run, base, constitution, column="harmlessness"):
    predict = {
        "model.selector.class": "cai_lightning.principles.selection.ContextualSelector",
        "model.selector.k": 1,
        "model.selector.encoder": "/home/me/encoder",
        "model.engine.sampling.temperature": 0.7,
        "model.revisions": 3,
        "model.critique": False,
        "model.suffix": "Be brief.",
    }
    (run / "predict.json").write_text(json.dumps({"verb": "predict", "settings": predict}))
    write_corpus(run, base, constitution)
    data = {"class_path": "cai_lightning.data.RevisionData", "init_args": {"limit": 40}}
    (run / "fit.yaml").write_text(yaml.safe_dump({"data": data}))
    fit = {"model.model": base, "model.lora.r": 4, "data.target": "revision", "digest of corpus": digest_of_corpus(run)}
    (run / "fit.json").write_text(json.dumps({"verb": "fit", "settings": fit, "finished": "2026-01-01T00:00:00+00:00"}))
    entry = {"mean": 0.75, "ci95": [0.5, 0.9], "scored": 8, "unscored": 1, "direction": "higher", "not_run": None}
    adapter = manifest.folder_digest(run / "adapter") if (run / "adapter").exists() else None
    summary = {"run": run.name, "metrics": {column: entry}, "adapter": adapter}
    (run / "summary.json").write_text(json.dumps(summary))


def write_corpus(run, base, constitution, revision="I won\u2019t help with that."):
    made = {"model": base, "constitution": {"name": constitution, "digest": "abcd"}, "revision": revision}
    made["few_shots"] = {"name": "examples", "digest": "dcba"}
    rows = [{"id": str(n), "prompt": f"Tell me lie {n}.", **made} for n in range(40)]
    (run / "revisions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def digest_of_corpus(run):
    return RevisionData(limit=40).inputs(run)["corpus"]


@pytest.fixture
def run(trained, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "trained")


def export(run, output, *more):
    try:
        return main(["export", str(run), "--output", str(output), *map(str, more)])
    except SystemExit as exit:
        return exit.code


@pytest.fixture(scope="session")
def ids(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return tokenizer("How do I bake bread for my neighbour?", return_tensors="pt")["input_ids"]


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


def unmerged(folder, base, ids):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, folder), ids)


def test_the_adapter_comes_back_through_peft(trained, tiny_model, tmp_path, ids, capsys):
    assert export(trained, tmp_path / "out") == 0
    assert "the adapter is in" in capsys.readouterr().out
    again = unmerged(tmp_path / "out", tiny_model, ids)
    assert torch.equal(again, unmerged(trained / "adapter", tiny_model, ids))
    plain = logits(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), ids)
    assert (again - plain).abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_merged_it_is_the_same_model(trained, tiny_model, tmp_path, ids):
    assert export(trained, tmp_path / "out", "--merge") == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert merged.dtype == torch.float32
    torch.testing.assert_close(
        logits(merged, ids), unmerged(trained / "adapter", tiny_model, ids), atol=1e-4, rtol=1e-4
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template
    assert merged.generation_config.eos_token_id == tokenizer.eos_token_id
    assert not list((tmp_path / "out").glob("adapter*"))
    assert list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("shape", [{"use_dora": True}, {"use_rslora": True}], ids=["DoRA", "rsLoRA"])
def test_other_adapters_are_merged_too(tiny_model, tmp_path, ids, shape):
    write_adapter(tmp_path / "run", tiny_model, **shape)
    assert export(tmp_path / "run", tmp_path / "out", "--merge") == 0
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto"), ids)
    expected = unmerged(tmp_path / "run" / "adapter", tiny_model, ids)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)


def test_a_merge_is_rounded_once(trained, tiny_model, tmp_path):
    """A 16-bit base is merged in float32: each weight is the nearest one to the exact sum."""
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    run = shutil.copytree(trained, tmp_path / "run")
    put_on(base, run / "adapter")
    assert export(run, tmp_path / "out", "--merge") == 0
    assert export(run, tmp_path / "wide", "--merge", "--dtype", "float32") == 0
    narrow, wide = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "wide"))
    assert {tensor.dtype for tensor in narrow.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in wide.values()} == {torch.float32}
    assert all(torch.equal(wide[name].bfloat16(), tensor) for name, tensor in narrow.items())
    adapter, name = load_file(run / "adapter" / "adapter_model.safetensors"), "model.layers.0.mlp.up_proj"
    update = 2 * adapter[f"base_model.model.{name}.lora_B.weight"] @ adapter[f"base_model.model.{name}.lora_A.weight"]
    exact = load_file(base / "model.safetensors")[f"{name}.weight"].float() + update
    torch.testing.assert_close(wide[f"{name}.weight"], exact, atol=1e-6, rtol=1e-6)


def test_the_adapter_in_another_type(trained, tmp_path):
    assert export(trained, tmp_path / "out", "--dtype", "bfloat16") == 0
    assert {t.dtype for t in load_file(tmp_path / "out" / "adapter_model.safetensors").values()} == {torch.bfloat16}


def test_the_folder_holds_what_vllm_reads_and_no_more(trained, tmp_path):
    (trained / "adapter" / "optimizer.pt").write_bytes(b"not for others")
    assert export(trained, tmp_path / "out") == 0
    (trained / "adapter" / "optimizer.pt").unlink()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "base_fingerprint.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "--max-lora-rank 8" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_that_was_fine_tuned_whole(trained, tiny_model, tmp_path, ids):
    run = tmp_path / "whole"
    shutil.copytree(tiny_model, run / "model")
    write_notes(run, str(tiny_model), "kindness")
    assert export(run, tmp_path / "out", "--dtype", "bfloat16") == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "- lora" not in card
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_what_fit_leaves_can_be_exported(experiment, tiny_model, tmp_path, ids):
    experiment.write_revisions("I won\u2019t help with that, sorry.")
    assert experiment("fit") == 0
    assert export(experiment.run, tmp_path / "out", "--merge") == 0
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto"), ids)
    torch.testing.assert_close(merged, unmerged(experiment.run / "adapter", tiny_model, ids), atol=1e-4, rtol=1e-4)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| `model.learning_rate` | `0.01` |" in card
    assert "| `revisions in the corpus, all parts` | `40` |" in card
    assert "| `with typographic marks made plain` | `40` |" in card
    assert "| `dropped for letters that are not English` | `0` |" in card
    assert "This model has not been evaluated." in card


def test_a_corpus_made_after_the_training_stays_out_of_the_card(run, tiny_model, tmp_path):
    before = digest_of_corpus(run)
    write_corpus(run, str(tiny_model), "malice", revision="Gladly.")
    assert export(run, tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "The corpus is no longer beside the run" in card
    assert before in card
    assert "malice" not in card
    assert "ContextualSelector" not in card


@pytest.mark.parametrize("spoiling", ["absent: 1", "prompts: absent.jsonl", "corpus: absent.jsonl", "limit: 0"])
def test_a_corpus_that_cannot_be_told_stays_out_of_the_card(run, tmp_path, spoiling):
    config = yaml.safe_load((run / "fit.yaml").read_text())
    config["data"]["init_args"] |= yaml.safe_load(spoiling)
    (run / "fit.yaml").write_text(yaml.safe_dump(config))
    assert export(run, tmp_path / "out") == 0
    assert "The corpus is no longer beside the run" in (tmp_path / "out" / "README.md").read_text()


def test_the_card_says_what_it_was_made_of(run, tmp_path):
    assert export(run, tmp_path / "out") == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-generation"
    assert "constitutional-ai" in card.data.tags
    assert card.data.license is None
    assert card.data.base_model is None, "a folder is no name on the Hub"
    for said in (
        "`kindness (digest abcd)`",
        "| `few-shot examples` | `examples (digest dcba)` |",
        "ContextualSelector",
        "`path/to/encoder`",
        "| `model.engine.sampling.temperature` | `0.7` |",
        "| `model.revisions` | `3` |",
        "| `model.critique` | `False` |",
        "| `model.suffix` | `Be brief.` |",
        f"`{digest_of_corpus(run)}`",
        "0.750",
        "0.500 to 0.900",
        "`path/to/tiny`",
    ):
        assert said in card.text, said


def test_the_bases_licence_is_its_own_cards(run, tiny_model, tmp_path):
    base = shutil.copytree(tiny_model, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: apache-2.0\nlicense_link: [a, b]\n---\n# Base\n")
    put_on(base, run / "adapter")
    assert export(run, tmp_path / "out") == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "apache-2.0"
    assert "license_link" not in card.data.to_dict()


def test_scores_of_another_adapter_are_left_out(run, tmp_path):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "adapter": "0000"}))
    assert export(run, tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "0.750" not in card
    assert "those of another model" in card


def test_hostile_names_stay_text(trained, tiny_model, tmp_path):
    run = shutil.copytree(trained, tmp_path / HOSTILE.replace("/", "-"))
    write_notes(run, str(tiny_model), HOSTILE, column=HOSTILE)
    summary = json.loads((run / "summary.json").read_text())
    summary["metrics"][HOSTILE] |= {"mean": HOSTILE, "ci95": [HOSTILE, 1], "scored": HOSTILE}
    (run / "summary.json").write_text(json.dumps(summary))
    assert export(run, tmp_path / "out") == 0
    text = (tmp_path / "out" / "README.md").read_text()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license is None
    assert text.count("\n---\n") == 1
    assert "\x1b" not in text
    for line in text.splitlines():
        outside = "".join(line.replace("\\|", "").split("`")[::2])
        assert "<script" not in outside, line
        assert "](http://example" not in outside, line
        assert not line.startswith("|") or len(re.split(r"(?<!\\)\|", line)) in (4, 8), line


def spoil(run, name, text):
    (run / "adapter" / name).write_text(text)


WRONG = {
    "no such run": lambda run: shutil.rmtree(run),
    "Run fit first": lambda run: shutil.rmtree(run / "adapter"),
    "adapter_model.safetensors is missing": lambda run: (run / "adapter" / "adapter_model.safetensors").unlink(),
    "not a JSON adapter configuration": lambda run: spoil(run, "adapter_config.json", "{"),
    "field 'base_model_name_or_path' should be a valid string": lambda run: spoil(run, "adapter_config.json", "{}"),
    "language model 'absent' cannot be opened": lambda run: spoil(
        run, "adapter_config.json", json.dumps({"base_model_name_or_path": "absent"})
    ),
    "was trained on a base with model_type gpt2": lambda run: spoil(
        run, "base_fingerprint.json", json.dumps({"model_type": "gpt2"})
    ),
    "adapter '": lambda run: spoil(run, "adapter_model.safetensors", "no tensors"),
    "summary.json: not JSON": lambda run: (run / "summary.json").write_text("{"),
    "not the configuration of a run": lambda run: (run / "fit.yaml").write_text("- a\n"),
}


@pytest.mark.parametrize(("message", "spoiling"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_is_said_and_nothing_written(run, tmp_path, capsys, message, spoiling):
    spoiling(run)
    assert export(run, tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("merge", [[], ["--merge"]])
def test_an_adapter_that_is_not_finite_is_refused(run, tmp_path, capsys, merge):
    path = run / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = torch.nan
    save_file(tensors, path)
    assert export(run, tmp_path / "out", *merge) == 1
    assert str(run / "adapter") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_adapter_that_lacks_tensors_is_not_merged(run, tmp_path, capsys):
    path = run / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, path)
    assert export(run, tmp_path / "out", "--merge") == 1
    assert "this adapter lacks 1 tensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_typo_of_a_type_is_named(run, tmp_path, capsys):
    assert export(run, tmp_path / "out", "--dtype", "bf16") == 2
    assert "bfloat16" in capsys.readouterr().err


def test_what_is_there_is_not_replaced_unasked(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(run, out) == 0
    before = (out / "README.md").read_text()
    assert export(run, out, "--merge") == 1
    assert "add --overwrite" in capsys.readouterr().err
    assert (out / "README.md").read_text() == before
    assert export(run, out, "--merge", "--overwrite") == 0
    assert (out / "model.safetensors").exists()
    assert not (out / "adapter_config.json").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_empty_folder_is_taken(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(run, tmp_path / "out") == 0


def test_overwriting_spares_what_is_no_model(run, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    assert export(run, tmp_path / "home", "--overwrite") == 1
    assert "no model there to overwrite" in capsys.readouterr().err
    assert (tmp_path / "home" / "thesis.tex").exists()


@pytest.mark.parametrize("place", ["adapter", "adapter/out", ".", ".."])
def test_the_run_is_never_written_over(run, capsys, place):
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert export(run, run / place, "--overwrite") == 1
    assert "which is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_the_base_is_never_written_over(run, tiny_model, capsys):
    assert export(run, tiny_model, "--merge", "--overwrite") == 1
    assert "which is read" in capsys.readouterr().err


def test_interrupted_it_leaves_what_was_there(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert export(run, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(
        "cai_lightning.commands.export.command.replace_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    assert export(run, out, "--merge", "--overwrite") == 130
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))


@pytest.fixture
def online(monkeypatch):
    """A token, and a network as far as `huggingface_hub` can tell."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def hub(online, monkeypatch):
    """What was asked of the Hub."""
    calls = []

    def create_repo(self, repo_id, **settings):
        calls.append(("create", repo_id, settings))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, **settings):
        files = {path.name for path in settings["folder_path"].iterdir()}
        calls.append(("upload", settings["repo_id"], files))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return calls


def test_pushing_uploads_the_folder_in_private(run, tmp_path, hub, capsys, caplog):
    assert export(run, tmp_path / "out", "--push-to-hub", "me/kind-model") == 0
    (made, name, settings), (sent, to, files) = hub
    assert (made, name, settings) == ("create", "me/kind-model", {"private": True, "exist_ok": True})
    assert (sent, to) == ("upload", "me/kind-model")
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= files
    out, err = capsys.readouterr()
    assert "https://huggingface.co/me/kind-model" in out
    assert '"me/kind-model"' in (tmp_path / "out" / "README.md").read_text()
    assert TOKEN not in out + err + caplog.text
    assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert export(run, tmp_path / "out", "--overwrite", "--public", "--push-to-hub", "me/kind-model") == 0
    assert hub[2][2]["private"] is False


def test_what_the_hub_refuses_is_written_all_the_same(run, tmp_path, online, monkeypatch, capsys):
    """Against a port where nobody listens, with the library's own client."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert export(run, tmp_path / "out", "--push-to-hub", "me/kind-model") == 1
    message = capsys.readouterr().err
    assert "is written, but it could not be uploaded to me/kind-model" in message
    assert "hf upload me/kind-model" in message
    assert TOKEN not in message
    assert (tmp_path / "out" / "README.md").exists()


def test_an_upload_that_cannot_be_is_known_before_the_work(run, tmp_path, online, monkeypatch, capsys):
    assert export(run, tmp_path / "out", "--push-to-hub", "no name") == 1
    assert "expected OWNER/NAME" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "absent"))
    assert export(run, tmp_path / "out", "--push-to-hub", "me/kind-model") == 1
    assert "there is no token" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert export(run, tmp_path / "out", "--push-to-hub", "me/kind-model") == 1
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_front_matter_is_plain_yaml(run, tmp_path):
    assert export(run, tmp_path / "out", "--merge") == 0
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["constitutional-ai", "sl-cai", "cai_lightning", "lora"],
    }


def test_a_model_ends_where_its_turn_ends(run, tiny_model, tmp_path):
    """The base stops at another token than the one that the template ends a turn with, as Llama-3's base models do."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    other = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": other}))
    put_on(base, run / "adapter")
    assert export(run, tmp_path / "out", "--merge") == 0
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written["eos_token_id"] == [other, tokenizer.eos_token_id]


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}])
def test_the_card_says_what_vllm_does_not_serve(run, tmp_path, setting):
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    (run / "adapter" / "adapter_config.json").write_text(json.dumps({**config, **setting}))
    assert export(run, tmp_path / "out") == 0
    assert "vLLM serves no adapter with" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("merge", [[], ["--merge"]], ids=["adapter", "merged"])
def test_what_is_pushed_names_no_folder_of_this_machine(run, tiny_model, tmp_path, hub, merge):
    fit = json.loads((run / "fit.json").read_text())
    fit["settings"]["data.helpful"] = str(tmp_path / "private.jsonl")
    (run / "fit.json").write_text(json.dumps(fit))
    assert export(run, tmp_path / "out", *merge, "--push-to-hub", "me/kind-model") == 0
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes(), path.name
        assert str(tiny_model).encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize("named", ["absolute", "relative"])
def test_a_pushed_adapter_says_what_to_put_it_on(trained, tiny_model, tmp_path, hub, monkeypatch, named):
    """A relative path could be somebody's name on the Hub: models/tiny is none of ours."""
    run = shutil.copytree(trained, tmp_path / "run")
    base = shutil.copytree(tiny_model, tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    put_on(base if named == "absolute" else "models/tiny", run / "adapter")
    assert export(run, tmp_path / "here") == 0
    assert export(run, tmp_path / "out", "--push-to-hub", "me/kind-model") == 0
    said = [json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("here", "out")]
    assert [config["base_model_name_or_path"] for config in said] == [str(base), "path/to/tiny"]
    kept = json.loads((tmp_path / "out" / "base_fingerprint.json").read_text())
    assert kept["base"] == "path/to/tiny"
    assert kept["weights"] == json.loads((run / "adapter" / "base_fingerprint.json").read_text())["weights"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Its base was read from a folder: put the place of your copy where `path/to/tiny` stands." in card
    assert 'from_pretrained("path/to/tiny"' in card
    assert "vllm serve path/to/tiny" in card
    assert "models/tiny" not in card
    assert str(tmp_path) not in card


def test_others_may_read_what_is_written(run, tmp_path):
    assert export(run, tmp_path / "out") == 0
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o666 & ~current_umask()}


def current_umask():
    os.umask(mask := os.umask(0))
    return mask
