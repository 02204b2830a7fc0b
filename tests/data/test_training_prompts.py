"""The prompts of a policy in training: each once an epoch, of the training part alone."""

from statistics import median
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from cai_lightning.data import TrainingPrompts
from cai_lightning.data.prompts import part, read_prompts
from cai_lightning.models.template import render, tokens
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import user


def prompts(prompts_file, tiny_model, epoch=0, parts=1, world=1, **settings):
    data = TrainingPrompts(str(prompts_file), **settings)
    module = SimpleNamespace(
        tokenizer=AutoTokenizer.from_pretrained(tiny_model), answers=4, longest=10, answered=lambda asked: asked
    )
    data.trainer = SimpleNamespace(
        lightning_module=module, accumulate_grad_batches=parts, world_size=world, current_epoch=epoch
    )
    data.setup("fit")
    return data


def ids(batches):
    return [prompt.id for asked in batches if asked.part == 0 for prompt in asked.prompts]


def test_each_training_prompt_comes_once_an_epoch_in_an_order_of_its_own(prompts_file, tiny_model):
    rows = read_prompts(str(prompts_file))
    first, second = (ids(prompts(prompts_file, tiny_model, epoch=epoch).train_dataloader()) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == sorted(row.id for row in rows if part(row.prompt) == "train")
    assert first != second
    tested = ids(prompts(prompts_file, tiny_model).val_dataloader())
    assert sorted(tested) == sorted(row.id for row in rows if part(row.prompt) == "validation")


def test_a_step_is_as_many_batches_as_are_accumulated(prompts_file, tiny_model):
    loader = prompts(prompts_file, tiny_model, parts=3, batch_size=8).train_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 3 * 4
    assert [asked.part for asked in batches] == 4 * [0, 1, 2]
    assert all(asked.prompts == batches[3 * (n // 3)].prompts for n, asked in enumerate(batches))
    assert [len(asked.prompts) for asked in batches[::3]] == [8, 8, 8, 7]


def test_it_goes_on_where_it_was(prompts_file, tiny_model):
    whole = list(prompts(prompts_file, tiny_model).train_dataloader())
    data = prompts(prompts_file, tiny_model)
    iterator = iter(data.train_dataloader())
    begun = [next(iterator), next(iterator)]
    resumed = prompts(prompts_file, tiny_model)
    resumed.load_state_dict(data.state_dict())
    assert begun + list(resumed.train_dataloader()) == whole


def test_long_prompts_are_left_out_and_counted(prompts_file, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    words = [render(tokenizer, [user(row.prompt)], prompt=True) for row in read_prompts(str(prompts_file))]
    most = int(median(len(tokens(tokenizer, text)) for text in words))
    data = prompts(prompts_file, tiny_model, max_length=most)
    kept = data.learned + data.tested
    assert 0 < len(kept) < 33
    assert f"{33 - len(kept)} left out, of more than {most} tokens" in data.statement()
    assert data.most_tokens == 8 * 4 * 10 + 8 * most


def test_where_nothing_is_left_it_is_said(prompts_file, tiny_model):
    with pytest.raises(UserError, match=r"of its 40 prompts 0 are there to learn on"):
        prompts(prompts_file, tiny_model, max_length=2)
