"""Small tokenizers with six families' chat formats, written here after what their makers document.

Each has the special tokens, the pre-tokenization and the habits of its family that matter to what is learned: a default
system prompt, a beginning-of-text token in the template, an end of turn that is not the end of text, no system role,
thoughts that are dropped later.
"""

import json
import os
from functools import partial
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

WORDS = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
"""Words with one blank before them, digits, punctuation with the line ends behind it, and white space."""

TEXTS = [
    "How do I pick a lock? Tell me how to bake bread, please.",
    "I will not help with that, sorry.\n\nBut here is what you could do instead:\n1. Ask a locksmith.\n2. Wait.",
    "system user assistant model You are a helpful assistant. Answer in French.",
]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

QWEN = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    + CHATML
)

MISTRAL = (
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}{% set system, turns = messages[0].content, messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 is even) %}"
    "{{ raise_exception('After the optional system message, roles must alternate user/assistant') }}{% endif %}"
    "{% if m.role == 'user' and loop.last and system is defined %}[INST] {{ system + '\n\n' + m.content }}[/INST]"
    "{% elif m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
"""The system turn stands in the last user turn, and so nowhere once a response follows."""

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 is even) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

QWEN3 = (
    "{% set query = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set query.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role != 'assistant' %}{{ m.content }}"
    "{% else %}"
    "{% set thought, answer = m.reasoning_content | default('', true), m.content %}"
    "{% if not thought and '</think>' in m.content %}"
    "{% set thought, answer = m.content.split('</think>')[0].split('<think>')[-1], m.content.split('</think>')[-1] %}"
    "{% endif %}"
    "{% if loop.index0 > query.last and (loop.last or thought) %}"
    "<think>\n{{ thought.strip('\n') }}\n</think>\n\n{% endif %}"
    "{{ answer.lstrip('\n') }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""The thoughts of a turn are dropped once a user's turn follows; the last turn has them, be they empty."""


def chatml():
    return _byte_level(CHATML, ["<|im_start|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>")


def qwen():
    return _byte_level(QWEN, ["<|im_start|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>")


def qwen3():
    """One that thinks: the words around thoughts are tokens of their own, though no special ones."""
    tokenizer = _byte_level(QWEN3, ["<|im_start|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in ("<think>", "</think>")])
    return tokenizer


def llama3():
    """Its end of turn is not its end of text, and the tokenizer itself puts a beginning in front of every text."""
    more = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return _byte_level(LLAMA3, more, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")


def mistral():
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _sentence_piece(MISTRAL, ["[INST]", "[/INST]"], "first", **roles)


def gemma():
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return _sentence_piece(GEMMA, ["<start_of_turn>", "<end_of_turn>"], "never", **roles)


FAMILIES = {"qwen": qwen, "mistral": mistral, "llama3": llama3, "gemma": gemma, "chatml": chatml}

THINKING = {"qwen3": qwen3}
"""Families whose templates write thoughts, and drop earlier ones."""


def real_tokenizers():
    """Tests marked `real` go through those in the folders that `CAI_TOKENIZERS` names, or these themselves, by name."""
    named = [Path(folder) for folder in os.environ.get("CAI_TOKENIZERS", "").split(os.pathsep) if folder]
    found = sorted(path.parent for folder in named for path in folder.rglob("tokenizer_config.json"))
    return {folder.name: partial(AutoTokenizer.from_pretrained, folder) for folder in found}


def _byte_level(template, more, **roles):
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    return _tokenizer(learner, template, more, roles)


def _sentence_piece(template, more, prepend, **roles):
    """Blanks as `▁`; other bytes than those of the words learned have tokens of their own, which are not special."""
    learner = Tokenizer(models.BPE(unk_token=roles["unk_token"], byte_fallback=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=True)
    learner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    given = [roles["unk_token"], *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=given, show_progress=False)
    learner.train_from_iterator(TEXTS, trainer)
    learned = json.loads(learner.to_str())
    return _tokenizer(Tokenizer.from_str(json.dumps(learned | {"added_tokens": []})), template, more, roles)


def _tokenizer(learner, template, more, roles):
    learner.add_special_tokens([AddedToken(token, normalized=False) for token in [*roles.values(), *more]])
    if "bos_token" in roles:
        bos = roles["bos_token"]
        learner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, learner.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learner, clean_up_tokenization_spaces=False, **roles)
    tokenizer.chat_template = template
    return tokenizer
