"""The sandbox's services, running on a free port."""

import threading
from pathlib import Path

import pytest

from cai_lightning.sandbox.serving.chat_protocol import ChatProtocol
from cai_lightning.sandbox.serving.classifier import Classifier
from cai_lightning.sandbox.serving.moderation_protocol import ModerationProtocol
from cai_lightning.sandbox.serving.server import Server

SANDBOX = Path(__file__).parents[2] / "checkpoints" / "sandbox"


@pytest.fixture(scope="session")
def service():
    with Server(0) as server:
        server.open(ModerationProtocol(Classifier(SANDBOX / "moderation")), ChatProtocol(Classifier(SANDBOX / "judge")))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
