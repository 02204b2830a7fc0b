"""What a server's model is called in scores: by its digest, or else by an address that holds no secret."""

import pytest

from cai_lightning.services.http import check_address
from cai_lightning.services.openai import model_revision


@pytest.mark.parametrize(
    ("digest", "url", "revision"),
    [
        (None, "http://127.0.0.1:8000/v1", "m at http://127.0.0.1:8000/v1"),
        (None, "http://127.0.0.1:8001/v1/", "m at http://127.0.0.1:8001/v1"),
        ("", "http://127.0.0.1:8001/v1", "m at http://127.0.0.1:8001/v1"),
        ("f00d", "http://127.0.0.1:8001/v1", "m@f00d"),
        (None, "https://api.openai.com/v1", "m"),
        (None, "https://api.openai.com/v1/", "m"),
        (None, "https://api.openai.com.example.net/v1", "m at https://api.openai.com.example.net/v1"),
    ],
)
def test_a_model_is_known_by_its_digest_or_its_address(digest, url, revision):
    assert model_revision("m", digest, url) == revision


@pytest.mark.parametrize("url", ["https://me:secret@host/v1", "https://host/v1?key=secret", "https://host/v1#secret"])
def test_no_address_with_a_secret_gets_there(url):
    with pytest.raises(ValueError, match="addresses without credentials") as error:
        check_address(url, "base_url")
    assert "secret" not in str(error.value)
