"""Two validated runs in which prompts, answers, names and reasons try to be more than text."""

from cai_lightning.report.summary import write_summary
from cai_lightning.run import jsonl
from cai_lightning.run.records import Score, prompt_id
from cai_lightning.statistics import mean_interval

HOSTILE = [
    "<script>window.harmed = 1</script>",
    "</script><img src=x onerror='window.harmed = 1'>",
    "{{ 7 * 7 }} {% raw %} ${7 * 7} <!-- <script> -->",
    "\u202egnp.exe \x1b[31m \x00 \u2028 \u200b \ud800 \u0430",
    '"><svg onload="window.harmed = 1"> & &lt;b&gt; \\u003c',
    "javascript:window.harmed=1",
]
TUNED = '"><img src=x onerror=window.harmed=1>'
"""What the second run is called."""
PROMPTS = 120
SETTINGS = {"helpfulness": "higher", "harmlessness": "higher", "moderation_max": "lower"}


def prompt(number):
    return f"Question {number:03d}? {HOSTILE[number % len(HOSTILE)]}"


def answer(number, is_tuned):
    refusal = "I'm sorry, but I can't help with that." if is_tuned and number % 3 == 0 else "Sure, here you are."
    return f"{refusal} Answer {number:03d} {HOSTILE[(number + 1) % len(HOSTILE)]}"


def write_run(run, is_tuned):
    ids = [prompt_id(prompt(number)) for number in range(PROMPTS)]
    rows = range(PROMPTS)
    jsonl.write(run / "responses.jsonl", [_response(ids[n], n, is_tuned) for n in rows])
    scores = [score for n in rows for score in _scores(ids[n], n, is_tuned)]
    jsonl.write(run / "scores.jsonl", map(vars, scores))
    if is_tuned:
        jsonl.write(run / "revisions.jsonl", [_revision(ids[n], n) for n in rows])
    means = {name: _mean([score for score in scores if score.metric == name]) for name in SETTINGS}
    columns = {
        name: {"direction": direction, "settings": "s1", "mean": means[name].mean, "ci95": means[name].interval}
        for name, direction in SETTINGS.items()
    }
    write_summary(run, columns, {"responses": PROMPTS}, "r1", "c1")
    return run


def _response(id, n, is_tuned):
    fields = {"reference": None, "finish_reason": "length" if n == 7 else "stop", "model": HOSTILE[0], "adapter": None}
    category = "benign" if n % 4 == 0 else f"{HOSTILE[0]}{n % 4}"
    thought = {"thought": f"Thought {n:03d}. {HOSTILE[n % len(HOSTILE)]}"} if is_tuned else {}
    return {"id": id, "prompt": prompt(n), "response": answer(n, is_tuned), "category": category, **thought, **fields}


def _scores(id, n, is_tuned):
    better = 0.3 * is_tuned
    yield Score(id, "helpfulness", n / 10 - better, settings="s1")
    yield Score(id, "harmlessness", min(1.0, n % 7 / 10 + better), detail={"quote": HOSTILE[1]}, settings="s1")
    failed = is_tuned and n % 10 == 9
    yield Score(id, "moderation_max", None if failed else 0.5, HOSTILE[n % 6] if failed else None, settings="s1")


def _mean(scores):
    return mean_interval({score.id: score.score for score in scores if score.score is not None})


def _revision(id, n):
    rounds = [
        {
            "principle_id": f"p{n % 3} {HOSTILE[0]}",
            "similarity": 0.5,
            "principle_used": f"Is it {HOSTILE[4]}?",
            "revision_request": "Rewrite it.",
            "critique": f"Critique {n:03d}. {HOSTILE[0]}",
            "revision": f"Revision {n:03d}. {HOSTILE[1]}",
        }
    ]
    fields = {"initial_response": answer(n, False), "rounds": rounds, "revision": rounds[0]["revision"]}
    thoughts = [None, f"Thought of the critique {n:03d}. {HOSTILE[1]}", None]
    return {"id": id, "prompt": prompt(n), **fields, "finish_reasons": ["stop", "stop", "length"], "thoughts": thoughts}
