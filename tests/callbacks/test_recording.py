"""A module that makes records says which; one that does not is refused by its name, before anything is written."""

import pytest
from lightning.pytorch import LightningModule


class Silent(LightningModule):
    """Says nothing of its records."""


@pytest.mark.parametrize("verb", ["predict", "validate"])
def test_a_module_that_does_not_say_what_it_writes_is_refused(experiment, verb, capsys):
    experiment.sections[verb]["model"] = {"class_path": f"{__name__}.Silent"}
    experiment.save()
    assert experiment(verb) == 1
    said = capsys.readouterr().err
    assert f"error: model: Silent does not say what {verb} writes (records and outputs)." in said
    assert "Traceback" not in said
    assert not experiment.run.exists()
