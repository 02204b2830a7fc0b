"""Text of models, downloads and servers is shown and never obeyed; their JSON is read whole or not at all."""

import pytest

from cai_lightning.run.text import (
    code_span,
    escape_markdown,
    excerpt,
    parse_json,
    printable,
    printable_lines,
    spreadsheet_cell,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\tc", "a\nb\tc"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b"),
        ("\u202e\u2028\ufeff\ud800", "\\u202e\\u2028\\ufeff\\ud800"),
        ("Zürich\u3000日本\xa0« » 👩\u200d👧", "Zürich\u3000日本\xa0« » 👩\u200d👧"),
        ("[bold]C:\\new", "[bold]C:\\new"),
    ],
)
def test_what_would_be_obeyed_is_written_out(text, expected):
    assert printable_lines(text) == expected


def test_a_line_is_one_line():
    assert printable("a\r\n  b\u2028c\x1b[2J ") == "a b c\\x1b[2J"


def test_an_excerpt_is_one_line_and_short():
    assert excerpt({"a": "x\ny"}) == "{'a': 'x\\ny'}"
    assert excerpt(b" caf\xc3\xa9 \xff\n") == "'café \ufffd'"
    assert len(excerpt("x" * 1000)) == 80


def test_markdown_is_shown_and_not_obeyed():
    assert escape_markdown("<b>&amp;</b> | *x* [a](b) \\") == (
        "&lt;b&gt;&amp;amp;&lt;/b&gt; \\| \\*x\\* \\[a\\](b) \\\\"
    )


def test_values_are_code_on_one_line():
    assert code_span("a\n# b `c`\x1b[0m") == "`a # b 'c'\\x1b[0m`"
    assert code_span("") == ""
    assert len(code_span("x" * 1000)) == 202


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@sum"])
def test_no_cell_is_a_formula(formula):
    assert spreadsheet_cell(formula) == f"'{formula}"
    assert spreadsheet_cell(f"a{formula}") == f"a{formula}"


def test_half_characters_are_read_as_the_replacement_character():
    assert parse_json(r'{"\ud800": ["a\udfff", "\ud83d\ude00", 1]}') == {"\ufffd": ["a\ufffd", "😀", 1]}


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000, b"", b"\xff", "nan?"])
def test_whatever_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"Expecting|utf-8|nested"):
        parse_json(text)
