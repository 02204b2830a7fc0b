"""A constitution opens by its file or by a folder that holds Anthropic's, as the README says."""

import json

import pytest

from cai_lightning.principles.constitution import INSTRUCTIONS, open_constitution


@pytest.mark.parametrize("place", ["", "prompts/", INSTRUCTIONS])
def test_a_file_or_a_folder(tmp_path, place):
    path = tmp_path / (place if place.endswith(".json") else place + INSTRUCTIONS)
    path.parent.mkdir(exist_ok=True)
    principle = {"prompt": ["CritiqueRequest: Name what harms."], "edit_request": "RevisionRequest: Mend it."}
    path.write_text(json.dumps({"harmful0": principle}))
    (found,) = open_constitution(str(path if place == INSTRUCTIONS else tmp_path)).principles
    assert (found.id, found.critique_request, found.revision_request) == ("harmful0", "Name what harms.", "Mend it.")
