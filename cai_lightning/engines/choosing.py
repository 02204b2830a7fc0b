"""How likely a model is to answer with each of several options, from one forward pass."""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel


@torch.inference_mode()
def option_probabilities(policy: PreTrainedModel, talk: Sequence[int], options: Sequence[Sequence[int]]) -> list[float]:
    """The probabilities of whole options as what comes next, as shares of their sum.

    Args:
        policy: The model.
        talk: Tokens of the conversation, up to where the answer begins.
        options: Tokens of each option, at least one.

    Returns:
        One probability an option, from the sums of its tokens' log-probabilities.
    """
    device = policy.device
    rows = [torch.tensor([*talk, *option], device=device) for option in options]
    longest = max(map(len, options))
    logits = policy(input_ids=pad_sequence(rows, batch_first=True), logits_to_keep=longest + 1).logits
    scores = logits.float().log_softmax(dim=-1)
    width = max(map(len, rows))
    totals = [
        sum(scores[n, len(talk) + place - 1 - (width - longest - 1), token] for place, token in enumerate(option))
        for n, option in enumerate(options)
    ]
    return torch.stack([torch.as_tensor(total) for total in totals]).softmax(dim=0).tolist()
