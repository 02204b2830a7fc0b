"""Preferences as predict would have written them, for tests of several folders."""

from cai_lightning.data.labelled import Label, Preference, Reading
from cai_lightning.data.prompts import read_prompts
from cai_lightning.run.records import to_json

GOOD, BAD = "I will not help with that, sorry.", "Sure, here is how to steal a car."


def preference(prompt, pair=0, share=0.9, first=GOOD, second=BAD, reasons=("stop", "stop")):
    """A pair whose first response is better with the probability `share`."""
    label = Label("p1", [Reading(share, 0.9)], [Reading(1 - share, 0.9)])
    return Preference(
        f"{prompt.id}.p{pair}", prompt.prompt, first, second, list(reasons), "tiny", None, "scripted", {}, 0, "now",
        [label], {"model": "tiny"}, {"name": "default"}, prompt_id=prompt.id, sample=2 * pair,
    )  # fmt: skip


def write_preferences(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_json(row) + "\n" for row in rows))


def some_preferences(prompts_file):
    """A pair for each prompt, the better response first and second by turns, with labels of any certainty."""
    rows = []
    for number, prompt in enumerate(read_prompts(str(prompts_file))):
        share = (number % 7) / 6
        said = (GOOD, f"{BAD} {prompt.prompt}") if number % 2 else (f"{BAD} {prompt.prompt}", GOOD)
        rows.append(preference(prompt, 0, share, *said))
    return rows


def preference_fit(experiment, module="DirectPreferenceOptimization", **settings):
    """Makes an experiment's fit one of preferences."""
    fit = experiment.sections["fit"]
    fit["model"]["class_path"] = f"cai_lightning.modules.{module}"
    fit["model"]["init_args"] |= settings
    fit["data"] = {
        "class_path": "cai_lightning.data.PreferenceData",
        "init_args": {"batch_size": 4, "max_length": 512},
    }
    experiment.save()
