"""Uploading, with `huggingface_hub`'s own client against a local server that speaks as much of the Hub as it needs."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from cai_lightning.commands.export.command import check_hub, push
from cai_lightning.run.errors import UserError

TOKEN = "hf_" + "t" * 34


class Hub(BaseHTTPRequestHandler):
    """Makes repositories, takes files whole, and keeps what was said."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.said.append((self.path, self.headers["Authorization"], body))
        if self.server.refuses:
            return self._answer(403, {"error": f"{TOKEN} may not do that"})
        if self.path == "/api/repos/create":
            return self._answer(200, {"url": f"{self.server.address}/me/kind-model"})
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        address = f"{self.server.address}/me/kind-model/commit/1"
        return self._answer(200, {"commitUrl": address, "commitOid": "1", "success": True})

    def _answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.said, server.refuses = [], False
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n# Card\n")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize("public", [True, False])
def test_a_folder_arrives_whole(hub, folder, public):
    check_hub("me/kind-model")
    assert push(folder, "me/kind-model", public) == f"{hub.address}/me/kind-model"
    made = json.loads(hub.said[0][2])
    assert (made["organization"], made["name"]) == ("me", "kind-model")
    assert made.get("private", made.get("visibility") == "private") is not public
    path, _, body = hub.said[-1]
    assert path.startswith("/api/models/me/kind-model/commit/main")
    lines = [json.loads(line)["value"] for line in body.splitlines()]
    files = {value["path"]: base64.b64decode(value["content"]) for value in lines if "path" in value}
    assert files == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, folder, capfd, caplog):
    push(folder, "me/kind-model", public=False)
    assert {token for path, token, _ in hub.said if "create" in path or "commit" in path} == {f"Bearer {TOKEN}"}
    assert all(TOKEN not in body for _, _, body in hub.said)
    assert TOKEN not in "".join(capfd.readouterr()) + caplog.text
    assert all(TOKEN.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_refusal_is_said_without_the_token(hub, folder):
    hub.refuses = True
    with pytest.raises(UserError, match="could not be uploaded to me/kind-model") as caught:
        push(folder, "me/kind-model", public=False)
    assert "403" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("name", ["no name", "model", "me/", "me/a/b", "../me/x", "me/x\n", "-h/x y"])
def test_a_name_that_is_no_repositorys(hub, name):
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        check_hub(name)
