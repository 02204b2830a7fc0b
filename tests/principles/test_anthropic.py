"""The paper's files are fetched by the real pooch, from a server of our own."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cai_lightning.principles import constitution as anthropic
from cai_lightning.run.errors import UserError

FILE = "prompts/CritiqueRevisionInstructions.json"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder served over HTTP in place of the public repository, with a cache of its own."""
    folder = tmp_path / "repository"
    for path in anthropic.CHECKSUMS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"contents of {path}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    checksums = {path: hashlib.sha256(f"contents of {path}".encode()).hexdigest() for path in anthropic.CHECKSUMS}
    monkeypatch.setattr(anthropic, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(anthropic, "CHECKSUMS", checksums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    yield folder
    server.shutdown()
    server.server_close()


def test_files_are_fetched_once(repository):
    path = anthropic.find_file("anthropic", FILE)
    (repository / FILE).unlink()
    assert anthropic.find_file("anthropic", FILE).read_text() == path.read_text() == f"contents of {FILE}"


def test_the_three_evaluations_are_fetched(repository):
    for name in anthropic.EVALUATION_FILES:
        assert anthropic.find_file("anthropic", f"evals/{name}").read_text() == f"contents of evals/{name}"


def test_a_changed_file_is_refused(repository):
    (repository / FILE).write_text("tampered with")
    with pytest.raises(UserError, match=rf"{anthropic.BASE_URL}{FILE}.*hash"):
        anthropic.find_file("anthropic", FILE)


def test_a_missing_file_names_the_url_and_the_way_out(repository):
    (repository / "evals" / anthropic.EVALUATION_FILES[0]).unlink()
    with pytest.raises(UserError, match=rf"{anthropic.BASE_URL}evals/.*name a copy instead"):
        anthropic.find_file("anthropic", f"evals/{anthropic.EVALUATION_FILES[0]}")


def test_no_network_is_one_error(repository, monkeypatch):
    monkeypatch.setattr(anthropic, "BASE_URL", "http://127.0.0.1:9/")
    with pytest.raises(UserError, match="Without a network"):
        anthropic.find_file("anthropic", f"evals/{anthropic.EVALUATION_FILES[0]}")


@pytest.mark.parametrize("path", anthropic.CHECKSUMS)
def test_checksums_are_those_of_the_real_files(real_data, path):
    assert hashlib.sha256((real_data / "anthropic" / path).read_bytes()).hexdigest() == anthropic.CHECKSUMS[path]
