"""Conversations of any common form are read, and a malformed row is named."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.corpus import Mixture
from cai_lightning.data.prompts import read_chats
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("Hi"), assistant("Hello.")]},
        {"prompt": "Hi", "response": "Hello."},
        {"prompt": "Hi", "completion": "Hello."},
        {"instruction": "Hi", "output": "Hello."},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
    ],
)
def test_every_form_is_the_same_conversation(tmp_path, row):
    (chat,) = read_chats(write(tmp_path / "chats.jsonl", row))
    assert (chat.opening, chat.response) == ([user("Hi")], "Hello.")


def test_earlier_turns_and_system_prompts_are_kept(tmp_path):
    turns = [
        {"role": "system", "content": "Be brief."},
        user("Hi"),
        assistant("Hello."),
        user("And?"),
        assistant("Yes."),
    ]
    (chat,) = read_chats(write(tmp_path / "chats.jsonl", {"messages": turns}))
    assert chat.opening == turns[:-1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [user("Hi")]}, "must end in an assistant turn"),
        ({"messages": [assistant("Hello.")]}, "must end in an assistant turn"),
        ({"messages": [user("Hi"), assistant(" ")]}, "must end in an assistant turn"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "'messages[0].role' should be 'system', 'user'"),
        ({"messages": "Hi"}, "field 'messages' should be a valid array, found 'Hi'"),
        ({"prompt": "Hi"}, "no 'messages'"),
        ({"prompt": "Hi", "response": 3}, "'response' must be a text"),
        ({"chosen": "Hello"}, "a transcript begins with 'Human:'"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, message):
    path = write(tmp_path / "chats.jsonl", {"prompt": "Hi", "response": "Hello."}, row)
    with pytest.raises(UserError) as error:
        read_chats(path)
    assert f"{path}, line 2: " in str(error.value)
    assert message in str(error.value)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3), max_leaves=5))
def test_no_value_of_messages_ends_in_a_traceback(tmp_path_factory, value):
    path = write(tmp_path_factory.mktemp("chats") / "chats.jsonl", {"messages": value})
    with pytest.raises(UserError, match="line 1"):
        read_chats(path)


def test_an_empty_file_and_a_missing_one_are_said(tmp_path):
    (tmp_path / "empty.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="there is no conversation in it"):
        read_chats(str(tmp_path / "empty.jsonl.gz"))
    with pytest.raises(UserError, match="no such file"):
        read_chats(str(tmp_path / "absent.jsonl"))
    with pytest.raises(ValueError, match=r"mixture\.weight"):
        Mixture("chats.jsonl", weight=0)
