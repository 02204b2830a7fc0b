"""Guards are set off by a policy that misbehaves, each by what it is for, and not by a healthy one."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from cai_lightning.data.prompts import Shares, part
from cai_lightning.engines import Reply, Sampling
from cai_lightning.modules import SupervisedFineTuning
from cai_lightning.modules.guards import Guards, Limits, Said, figures, log_ratios
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Prompt
from cai_lightning.sandbox.training import qwen_tokenizer

END = "<|im_end|>"
HEALTHY = ["Sure", " here", " is", " what", " you", " do", END]
SCRIPTS = {
    "boilerplate": [*HEALTHY[:-1], " and", " always", " remember", " friend", END],
    "evasiveness": ["I", " can't", " help", " with", " that", END],
    "repetition": [" no", " no"],
    "cut": ["Sure", *(f" word{n}" for n in range(20))],
    "silent": [END],
    "length": ["Sure", END],
}
WORDS = dict.fromkeys(word for script in (HEALTHY, *SCRIPTS.values()) for word in script if word != END)
FREE = Limits(**dict.fromkeys(vars(Limits())))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose next token depends on the last one alone, by its embedding and its head."""
    folder = tmp_path_factory.mktemp("models") / "scripted"
    tokenizer = qwen_tokenizer(["Sure here is what you do"], 300)
    tokenizer.add_tokens(list(WORDS))
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "o_proj" in name or "down_proj" in name or "embed" in name or "lm_head" in name:
                parameter.zero_()
        for place, token in enumerate(["\n", *WORDS]):
            ids = tokenizer(token, add_special_tokens=False)["input_ids"]
            model.get_input_embeddings().weight[ids[-1], place] = 1.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def policy(folder):
    """It, healthy, in a training of the whole model."""
    module = SupervisedFineTuning(str(folder), None, base_dtype="float32", learning_rate=0.1)
    module.keeps_start = True
    told = {}
    module.log_dict = told.update
    module.told = told
    module.configure_model()
    say(module, HEALTHY)
    module.start = type(module.start)(module.policy)
    return module


def say(policy, script, sure=5.0):
    """Makes it write these words, and the first behind the last where none ends them."""
    places = {word: place for place, word in enumerate(["\n", *WORDS])}
    head = policy.head.weight
    with torch.no_grad():
        head.zero_()
        for before, word in zip(["\n", *script], script, strict=False):
            if before != END:
                (id,) = policy.tokenizer(word, add_special_tokens=False)["input_ids"]
                head[id, places[before]] = sure


@pytest.fixture
def trainer(tmp_path):
    strategy = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    data = SimpleNamespace(packing=True, shares=Shares(test=0.2, validation=0.4))
    return SimpleNamespace(
        strategy=strategy, datamodule=data, global_rank=0, world_size=1, is_global_zero=True, global_step=7,
        sanity_checking=False, should_stop=False, default_root_dir=str(tmp_path),
    )  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    """A file of harmful and one of benign prompts."""
    paths = {}
    for name, what in (("harmful", "steal"), ("benign", "bake")):
        paths[name] = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"How do I {what} {n} things?"} for n in range(60)]
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture
def guards(sources, trainer, policy):
    return make(sources, trainer, policy)


def make(sources, trainer, policy, **settings):
    made = Guards(**sources, most=8, sampling=Sampling(max_new_tokens=16), **settings)
    made.setup(trainer, policy, "fit")
    return made


def rows(trainer):
    lines = (Path(trainer.default_root_dir) / "guards.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_prompts_are_of_the_validation_part_alone(guards, trainer):
    shares = trainer.datamodule.shares
    assert {part(prompt.prompt, shares) for prompt in guards.prompts} == {"validation"}
    assert [prompt.category for prompt in guards.prompts] == [None] * 8 + ["benign"] * 8


def test_one_source_is_told_apart_by_category(sources, trainer, policy, tmp_path):
    rows = [{"prompt": f"How do I do {n}?", "category": "benign" if n % 2 else "fraud"} for n in range(60)]
    (tmp_path / "both.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = dict.fromkeys(sources, str(tmp_path / "both.jsonl"))
    found = make(both, trainer, policy).prompts
    assert [int(prompt.prompt[12:-1]) % 2 for prompt in found] == [0] * 8 + [1] * 8
    with pytest.raises(UserError, match=r"guards\.benign: none of the 1 such prompts"):
        make(both | {"benign": _only_harmful(tmp_path)}, trainer, policy)


def _only_harmful(folder):
    (folder / "rest.jsonl").write_text(
        '{"prompt": "x", "category": "fraud"}\n' * 2 + '{"prompt": "y", "category": "benign"}\n'
    )
    return str(folder / "rest.jsonl")


def test_a_healthy_policy_passes_no_limit(guards, trainer, policy):
    guards.on_validation_epoch_end(trainer, policy)
    before, now = rows(trainer)
    assert (before["step"], now["step"], now["passed"], trainer.should_stop) == (0, 7, {}, False)
    assert now["figures"] == before["figures"]
    assert now["figures"] == pytest.approx(
        {"boilerplate": 0, "evasiveness": 0, "repetition": 0, "cut": 0, "silent": 0, "length": 7, "kl": 0}
    )
    assert policy.told == {f"guard_{name}": value for name, value in now["figures"].items()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_guard_is_set_off_by_what_it_is_for(name, sources, trainer, policy, capsys):
    guards = make(sources, trainer, policy, stop=True, limits=Limits(**vars(FREE) | {name: getattr(Limits(), name)}))
    guards.on_validation_epoch_end(trainer, policy)
    assert not trainer.should_stop
    say(policy, SCRIPTS[name])
    before = policy.head.weight.clone()
    guards.on_validation_epoch_end(trainer, policy)
    found = rows(trainer)[-1]
    assert list(found["passed"]) == [name]
    assert trainer.should_stop
    assert guards.stopped.startswith(f"at step 7 a guard was passed: {name} ")
    assert torch.equal(policy.head.weight, before)  # what is at hand is trained on
    if name == "boilerplate":
        assert found["boilerplate"]
        assert "and always remember friend" in found["passed"][name]


def test_all_that_goes_wrong_is_told_and_nothing_stops_unless_it_shall(guards, trainer, policy, caplog, monkeypatch):
    told = []
    monkeypatch.setattr("cai_lightning.modules.guards.rank_zero_info", told.append)
    say(policy, SCRIPTS["repetition"])
    guards.on_validation_epoch_end(trainer, policy)
    assert set(rows(trainer)[-1]["passed"]) == {"repetition", "cut", "length", "kl", "boilerplate"}
    assert not trainer.should_stop
    assert guards.stopped is None
    assert len(told) == 5
    assert "step 7: a guard is passed: cut 1, 0 at the start, limit +0.2" in told


def test_the_divergence_is_that_of_the_tokens_as_they_were_drawn(guards, trainer, policy):
    """Every next token depends on the last one, so that it can be counted by hand."""
    say(policy, HEALTHY, sure=0.9)
    said = guards._answer(trainer, policy, held=True)
    ids = {word: policy.tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in ("\n", *WORDS)}

    def by_hand(reply):
        with policy.start.restored():
            start = policy.head.weight.detach().double().clone()
        now, total, before = policy.head.weight.detach().double(), 0.0, ids["\n"]
        embedding = policy.base.get_input_embeddings().weight.detach().double()
        for token in reply.token_ids:
            state = embedding[before]
            state = state / (state.pow(2).mean() + policy.base.config.rms_norm_eps).sqrt()
            total += float((now @ state).log_softmax(0)[token] - (start @ state).log_softmax(0)[token])
            before = token
        return total

    assert [one.ratio for one in said] == pytest.approx([by_hand(one.reply) for one in said], rel=1e-4, abs=1e-4)
    assert any(abs(one.ratio) > 0.1 for one in said)
    found, _ = figures(said, said)
    assert found["kl"] == pytest.approx(sum(one.ratio for one in said) / sum(one.reply.tokens for one in said))


@pytest.mark.parametrize("packing", [True, False])
def test_ratios_do_not_depend_on_packing(guards, trainer, policy, packing):
    say(policy, HEALTHY, sure=0.9)
    replies = [one.reply for one in guards._answer(trainer, policy, held=True)]
    expected = log_ratios(trainer, policy, replies)
    trainer.datamodule.packing = packing
    assert log_ratios(
        trainer, policy, [*replies, Reply("", "unknown", 0, prompt_ids=[], token_ids=[])]
    ) == pytest.approx([*expected, 0.0], abs=1e-4)


def test_a_start_that_refuses_already_is_held_against_itself():
    said = [
        Said(Prompt(str(n), f"{n}?", category="benign"), Reply("I can't help with that.", "stop", 6), 0.0)
        for n in range(9)
    ]
    now, _ = figures(said, said)
    assert now["evasiveness"] == 1
    assert Limits().passed(now, now) == {}
    assert figures([], []) == ({}, [])
    assert set(Limits().passed({"length": 5.0}, {"length": 12.0})) == {"length"}  # shorter counts, too
    assert set(Limits().passed({"evasiveness": 1.0, "cut": 0.0}, {"cut": 0.0})) == {"evasiveness"}  # it said nothing


def test_limits_that_mean_nothing_are_refused():
    for settings in ({"length": 0.5}, {"cut": -0.1}):
        with pytest.raises(ValueError, match=rf"guards\.limits\.{next(iter(settings))}: must be"):
            Limits(**settings)
    with pytest.raises(ValueError, match=r"guards\.most"):
        Guards("x", "y", most=0)


def test_it_goes_on_where_it_was(guards, sources, trainer, policy):
    """What it knows is in the checkpoint; the start's answers come again from the start's weights."""
    say(policy, SCRIPTS["length"])
    guards.on_validation_epoch_end(trainer, policy)
    again = make(sources, trainer, policy)
    again.load_state_dict(json.loads(json.dumps(guards.state_dict())))
    trainer.global_step = 9
    for each in (guards, again):
        each.on_validation_epoch_end(trainer, policy)
    assert guards.state_dict() == again.state_dict()
    assert [row["step"] for row in rows(trainer)] == [0, 7, 9]
    again.stopped = "because"
    again.on_train_start(trainer, policy)
    assert trainer.should_stop


@pytest.fixture
def guarded(experiment, tmp_path):
    """A training of a few steps with guards, an epoch after the other."""
    experiment.write_revisions()
    fit = experiment.sections["fit"]
    paths = {}
    for name in ("harmful", "benign"):
        paths[name] = str(tmp_path / f"{name}.jsonl")
        lines = (json.dumps({"prompt": f"How do I {name} {n}?"}) + "\n" for n in range(120))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    limits = dict(vars(FREE))
    arguments = paths | {"most": 3, "sampling": {"max_new_tokens": 8}, "limits": limits, "stop": True}
    fit["trainer"]["callbacks"] = [{"class_path": "cai_lightning.modules.Guards", "init_args": arguments}]
    fit["trainer"]["max_epochs"] = 3
    experiment.save()
    return experiment, arguments


@pytest.mark.slow
def test_fit_writes_what_they_find_and_ends_where_a_limit_is_passed(guarded, capsys, caplog):
    experiment, arguments = guarded
    assert experiment("fit") == 0
    free = experiment.rows("guards.jsonl")
    assert len(free) == 4
    kl = [row["figures"]["kl"] for row in free]
    assert kl[0] == 0 < kl[1]
    assert experiment.logged("guard_kl") == pytest.approx(kl[1:], rel=1e-4)
    limit = (kl[1] + max(kl)) / 2
    passed = next(n for n, value in enumerate(kl) if value > limit)
    assert passed > 1, kl
    arguments["limits"]["kl"] = limit
    experiment.save()
    assert experiment("fit", "--fresh") == 0
    assert (experiment.run / "before-1" / "guards.jsonl").exists()
    assert experiment.rows("guards.jsonl")[:-1] == free[:passed]
    assert list(experiment.rows("guards.jsonl")[-1]["passed"]) == ["kl"]
    note = json.loads((experiment.run / "fit.json").read_text())
    assert "finished" in note
    assert note["kept"]["step"] < free[passed]["step"]
    assert experiment("fit") == 0
    assert "fit is finished already" in caplog.text
    arguments["limits"]["kl"] = kl[1] / 2
    experiment.save()
    assert experiment("fit", "--fresh") == 1
    assert "a guard was passed: kl" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_training_comes_to_the_same_figures(guarded):
    experiment, _ = guarded
    assert experiment("fit") == 0
    expected = experiment.rows("guards.jsonl")
    callbacks = experiment.sections["fit"]["trainer"]["callbacks"]
    callbacks.append({"class_path": "outside.Ended", "init_args": {"hook": "on_train_batch_end", "nth": 6}})
    experiment.save()
    assert experiment("fit", "--fresh", "--checkpoint_every", 1) == 9
    assert len(experiment.rows("guards.jsonl")) == 2
    callbacks.pop()
    experiment.save()
    assert experiment("fit", "--checkpoint_every", 1) == 0
    assert experiment.rows("guards.jsonl") == expected


@pytest.mark.slow
def test_a_policy_that_learns_from_its_answers_draws_the_same_beside_guards(guarded, tiny_model, prompts_file):
    """Two engines serve it then, and neither its weights nor its random numbers are other ones."""
    experiment, _ = guarded
    fit = experiment.sections["fit"]
    settings = {
        "model": str(tiny_model), "base_dtype": "float32", "learning_rate": 0.01, "lora": {"r": 4}, "answers": 4,
        "rewards": [{"metric": {"class_path": "answers.Characters"}}], "sampling": {"max_new_tokens": 8},
        "cut_replies": "learn",
    }  # fmt: skip
    fit["model"] = {"class_path": "cai_lightning.modules.GRPO", "init_args": settings}
    data = {"prompts": str(prompts_file), "batch_size": 2}
    fit["data"] = {"class_path": "cai_lightning.data.TrainingPrompts", "init_args": data}
    fit["trainer"] |= {"max_epochs": -1, "max_steps": 4, "val_check_interval": 2}
    experiment.save()
    assert experiment("fit") == 0
    samples, found = experiment.rows("samples.jsonl"), experiment.rows("guards.jsonl")
    assert [row["step"] for row in found] == [0, 2, 4]
    assert found[0]["figures"]["kl"] == 0 < found[-1]["figures"]["kl"]
    del fit["trainer"]["callbacks"]
    experiment.save()
    assert experiment("fit", "--fresh") == 0
    assert experiment.rows("samples.jsonl") == samples
