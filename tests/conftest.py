"""What tests of several folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    """The folder of public data that this project did not write; tests that need it are skipped without it."""
    folder = os.environ.get("CAI_REAL_DATA")
    if not folder:
        pytest.skip("CAI_REAL_DATA does not name the folder of real data")
    return Path(folder)
