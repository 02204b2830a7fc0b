"""A reward model in the layout of Starling-RM-7B-alpha: a Llama without its last layer, and a head of one number.

https://huggingface.co/berkeley-nest/Starling-RM-7B-alpha
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning import chat
from cai_lightning.errors import UserError
from cai_lightning.metrics.rewards.base import Encoded, Reward, padded
from cai_lightning.metrics.rewards.checkpoint import BACKBONE, HEAD, check_fit, read_checkpoint
from cai_lightning.pretrained import check_tokenizer, opening
from cai_lightning.records import Conversation, user


class Starling(Reward):
    """The number that the head gives the last token of a conversation.

    Args:
        backbone: The Llama.
        head: Weights of the head, a float32 tensor of the hidden size, for bfloat16 is too coarse for a score.
        tokenizer: That of the backbone.
        max_length: Tokens of a conversation, `<s>` included, which stays when the beginning is cut off.
    """

    def __init__(
        self, backbone: PreTrainedModel, head: Tensor, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        self._backbone = backbone
        self._head = head
        self._tokenizer = tokenizer
        self._max_length = max_length

    def encode(self, conversation: Conversation) -> Encoded:
        text = chat.starling(conversation)
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= self._max_length:
            return Encoded(ids, truncated=False)
        return Encoded([ids[0], *ids[len(ids) - self._max_length + 1 :]], truncated=True)

    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """Padding stands on the right, where a causal model does not look: it needs no mask."""
        ids = padded([one.ids for one in batch], self._tokenizer.unk_token_id, self._backbone.device)
        ends = torch.tensor([len(one.ids) - 1 for one in batch], device=ids.device)
        states = self._backbone(input_ids=ids, use_cache=False).last_hidden_state
        last: Tensor = states[torch.arange(len(batch), device=ids.device), ends]
        return (last.float() @ self._head).cpu()


def open_starling(model: str, base: str, dtype: torch.dtype, max_length: int, device: torch.device) -> Starling:
    """Opens a checkpoint in Starling's layout; the weights go from the disk into `dtype` one after the other.

    Args:
        model: Folder or Hugging Face name of the checkpoint.
        base: Folder or Hugging Face name that the backbone's configuration and tokenizer come from.
        dtype: Number format of the backbone.
        max_length: See `Starling`.
        device: Where it computes.

    Raises:
        UserError: Checkpoint or base are not to be had, or do not fit each other.
    """
    tokenizer = _open_tokenizer(base)
    with opening("base of the reward model", base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    with torch.device("meta"):
        skeleton = AutoModel.from_config(config)
    weights = read_checkpoint(model)
    check_fit(model, weights, skeleton)
    head = weights.pop(HEAD)[0].float().to(device)
    backbone = type(skeleton).from_pretrained(
        None,
        config=config,
        state_dict={key.removeprefix(BACKBONE): tensor for key, tensor in weights.items()},
        dtype=dtype,
    )
    length = min(max_length, config.max_position_embeddings)
    return Starling(backbone.eval().to(device), head, tokenizer, length)


def _open_tokenizer(base: str) -> PreTrainedTokenizerBase:
    with opening("base of the reward model", base):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    check_tokenizer("base of the reward model", base, tokenizer)
    begin = tokenizer(chat.starling([user("Hello?")]), add_special_tokens=False)["input_ids"][:1]
    if tokenizer.unk_token_id is None or begin != [tokenizer.convert_tokens_to_ids("<s>")]:
        raise UserError(f"base of the reward model {base!r}: its tokenizer knows no <unk> or <s>, unlike Llama 2's.")
    return tokenizer
