"""`validate` through the services' clients, configured by YAML as a user would."""

from judges import PAGES, said, texts, verdict
from servers import serving

from cai_lightning.services.judge import without_control


def services(request, headers=None):
    """Both protocols on one address, as the sandbox's services have it."""
    if "input" in request:
        score = {"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.25}}
        return {"model": "m-1", "results": [score for _ in request["input"]]}
    return said(verdict(1 + len(texts(request)[-1][1]) % 5, 3))


def test_moderation_and_judge_score_a_run_once(experiment):
    with serving(services, PAGES) as server:
        experiment.sections["validate"]["model"]["init_args"]["metrics"] = [
            {
                "class_path": "cai_lightning.metrics.Moderation",
                "init_args": {"model": "m", "base_url": server.url, "tokens_per_minute": None},
            },
            {"class_path": "cai_lightning.metrics.Judge", "init_args": {"judge": {"base_url": server.root}}},
        ]
        experiment.save()
        experiment.write_revisions()
        assert experiment("validate") == 0
        asked = len(server.asked)
        scored = {name: entry["scored"] for name, entry in experiment.summary()["metrics"].items()}
        names = ["moderation_max", "moderation_flagged", "judge_helpfulness", "judge_refusal"]
        assert list(scored) == names
        assert experiment.summary()["metrics"]["moderation_max"]["mean"] == 0.25
        assert experiment.summary()["metrics"]["judge_refusal"]["mean"] == 3
        assert experiment("validate") == 0
        assert scored == {name: entry["scored"] for name, entry in experiment.summary()["metrics"].items()}
        assert len([request for request in server.asked[asked:] if request.get("input") != ["hello"]]) == 0
    rows = {row["response"]: row["id"] for row in experiment.rows("responses.jsonl")}
    scores = {
        row["id"]: row["score"] for row in experiment.rows("scores.jsonl") if row["metric"] == "judge_helpfulness"
    }
    for response, id in rows.items():
        assert scores[id] == (None if not response.strip() else 1 + len(without_control(response)) % 5)
