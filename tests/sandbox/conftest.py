"""The sandbox's services, running on a free port."""

import threading
from pathlib import Path

import pytest

from cai_lightning.sandbox.__main__ import Server
from cai_lightning.sandbox.services import Classifier, Services

SANDBOX = Path(__file__).parents[2] / "checkpoints" / "sandbox"


@pytest.fixture(scope="session")
def service():
    with Server(0) as server:
        server.services = Services(Classifier(SANDBOX / "moderation"), Classifier(SANDBOX / "judge"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
