"""Labelled comparisons as evaluators and arithmetic need them: the responses to score, and arrays of what is known.

labels = Labels(read_labelled(path))
scores = {response.id: ... for response in labels.responses}
"""

from itertools import chain

import numpy as np

from cai_lightning.data.labelled import Labelled, LabelledPair, LabelledResponse
from cai_lightning.run.records import UNKNOWN, Conversation, Response, assistant, prompt_id, transcript_text
from cai_lightning.statistics.intervals import Array, number_prompts


class Labels:
    """The labels of a file; a response that stands in it several times is scored once.

    Args:
        labelled: What was read.

    Attributes:
        responses: Every response, each with an id of its own.
        chosen: Ids of the better responses, one for each pair.
        rejected: Ids of the worse ones.
        pair_prompts: Number of the conversation of each pair.
        longer: Characters that the chosen response has more than the rejected one; negative where it has fewer.
        singles: Ids of the single responses.
        good: Whether each single response is good.
        single_prompts: Number of the conversation of each.
        lengths: Characters of each.
    """

    def __init__(self, labelled: Labelled) -> None:
        self.labelled = labelled
        pairs, singles = labelled.pairs, labelled.singles
        chosen = [_response(pair, pair.chosen) for pair in pairs]
        rejected = [_response(pair, pair.rejected) for pair in pairs]
        both = chain.from_iterable(zip(chosen, rejected, strict=True))  # an audit that ends early has whole pairs
        alone = [_response(single, single.response) for single in singles]
        self.responses = list({response.id: response for response in (*both, *alone)}.values())
        self.chosen, self.rejected, self.singles = (_ids(responses) for responses in (chosen, rejected, alone))
        self.pair_prompts = number_prompts(transcript_text(pair.conversation) for pair in pairs)
        self.longer = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=np.float64)
        self.good = np.array([single.good for single in singles], dtype=np.bool_)
        self.single_prompts = number_prompts(transcript_text(single.conversation) for single in singles)
        self.lengths: Array = np.array([len(single.response) for single in singles], dtype=np.float64)


def response_id(conversation: Conversation, response: str, reference: str | None) -> str:
    """16 hex digits that stand for a response and all that it is judged by."""
    whole = [*conversation, assistant(response)]
    return prompt_id(transcript_text(whole if reference is None else [*whole, assistant(reference)]))


def _response(row: LabelledPair | LabelledResponse, text: str) -> Response:
    turns = row.conversation
    return Response(
        id=response_id(turns, text, row.reference),
        prompt=turns[-1]["content"],
        response=text,
        reference=row.reference,
        finish_reason=UNKNOWN,
        model="labelled",
        adapter=None,
        turns=turns if len(turns) > 1 else None,
    )


def _ids(responses: list[Response]) -> list[str]:
    return [response.id for response in responses]
