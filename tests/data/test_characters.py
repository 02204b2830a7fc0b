"""The characters of a corpus are made plain, and nothing that means something is lost on the way."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cai_lightning.data.characters import in_place, plain
from cai_lightning.data.cleaning import clean, commentary_spans

ENGLISH = "The cook of the house says that the place is open and that you are welcome. " * 3

MENDED = {
    "quotes": ("\u201cit\u2019s \u2018so\u2019\u201d", "\"it's 'so'\""),
    "low quotes": ("\u201eDas geht\u201c, \u201asagt\u2018 er", "\"Das geht\", 'sagt' er"),
    "dashes": ("1914\u20131918 \u2013 no\u2011one \u2014 yes\u2014no", "1914-1918 - no-one - yes - no"),
    "ellipsis": ("Well\u2026", "Well..."),
    "spaces": ("10\u00a0km,\u202fabout\u2003that", "10 km, about that"),
    "lines": ("one\u2028two\u0085three\u2029four", "one\ntwo\nthree\n\nfour"),
    "invisible": ("\ufeffso\u00adme\u200bthing\u2060 \u200fhere\u200d", "something here"),
    "ligatures": ("\ufb01nd the o\ufb03ce", "find the office"),
    "accents": (
        f"{ENGLISH}Na\u00efve caf\u00e9, cafe\u0301, \u0141\u00f3d\u017a, Stra\u00dfe, Hawai\u02bbi.",
        f"{ENGLISH}Naive cafe, cafe, Lodz, Strasse, Hawai'i.",
    ),
    "one foreign word": (
        f"{ENGLISH}\u201c\u03bb\u03cc\u03b3\u03bf\u03c2\u201d",
        f'{ENGLISH}"\u03bb\u03cc\u03b3\u03bf\u03c2"',
    ),
}

KEPT = {
    "symbols": "x \u2192 \u221e, 3 \u2264 \u20ac5 \u00d7 \u00bd, 1\u20442, \u22125 \u00b0C, 5\u2032 6\u2033",
    "signs": "\u2022 \u00a9 \u2713 \U0001f600",
    "unit": f"{ENGLISH}5 \u00c5, \u0177 and x\u0304",
    "chinese": "\u4ed6\u8bf4\uff1a\u201c\u4f60\u597d\u201d\u2014\u2014\u4eca\u5929\u2026\u2026\u3002",
    "chinese with english": "\u201cHello\u201d\u662f\u201c\u4f60\u597d\u201d\u3002",
    "french": "\u00ab D\u00e9j\u00e0 l'\u00e9t\u00e9 \u00bb, a-t-elle r\u00e9pondu, pr\u00eate.",
    "short": "Caf\u00e9",
    "decomposed": "\u00e9te\u0301 \u212b \u0958",
    "persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200fABC",
    "hindi": "\u0915\u094d\u200d\u0937 \u0928\u0939\u0940\u0902",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u200b\u0e04\u0e23\u0e31\u0e1a",
    "family": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525 1\ufe0f\u20e3",
    "code block": f'{ENGLISH}\n\n```\ndf["Gr\u00f6\u00dfe"] = \u201cn\u00e4\u201d\u00a0# \u4f60\u200b\n```\n{ENGLISH}',
    "open block": f"{ENGLISH}\n~~~\nna\u00efve = \u2018\u2026\u2019",
    "inline code": f'{ENGLISH}Take `df["Gr\u00f6\u00dfe"]`, or ``a`\u2014`\u00ef``.',
}


@pytest.mark.parametrize("form", MENDED)
def test_marks_are_mended(form):
    text, expected = MENDED[form]
    assert plain(text, "typography").text == expected


@pytest.mark.parametrize("form", KEPT)
def test_what_means_something_stays(form):
    assert plain(KEPT[form], "typography").text == KEPT[form]


def test_changes_are_told():
    told = {
        text: [plain(text, ascii).changes for ascii in ("typography", "all", "off")]
        for text in ("Plain.", "\u2018Hm\u2019", "\u20ac", "d\u00e9j\u00e0", "\u4f60", "`\u4f60`")
    }
    assert told == {
        "Plain.": [(), (), ()],
        "\u2018Hm\u2019": [("typography",), ("typography",), ("not_ascii",)],
        "\u20ac": [("not_ascii",)] * 3,
        "d\u00e9j\u00e0": [("not_ascii",), ("accents",), ("not_ascii",)],
        "\u4f60": [("not_ascii",), ("not_ascii", "other_letters"), ("not_ascii",)],
        "`\u4f60`": [(), (), ()],
    }


def test_a_text_of_other_letters_is_dropped_under_all_alone():
    assert clean("\u4f60\u597d", "all").is_dropped
    assert not clean("\u4f60\u597d", "typography").is_dropped
    assert not clean("D\u00e9j\u00e0 `\u4f60` \u2192 5\u20ac", "all").is_dropped
    assert clean(" \u200b ").is_dropped


marks = st.sampled_from(
    "\u201c\u201d\u2018\u2019\u2014\u2013\u2026\u00a0\u200b\u200c\u200d\u200f\u00ad\u2028\u2029\u0085\ufeff\ufb01"
)
letters = st.sampled_from(
    "aeZ\u00e9\u0301\u00df\u00f8\u02bc\u212b\u03b1\u4f60\ud55c\u0643\u0915\u094d\u0e2a"
    "1 .,>\n\u2192\u20ac\u2764\ufe0f\U0001f600"
)
words = st.sampled_from([ENGLISH, "caf\u00e9 ", "\u4f60\u597d ", "na\u00efve\u200d"])
prose = st.lists(st.one_of(marks, letters, words), max_size=12).map("".join)
anything = st.lists(st.one_of(marks, letters, words, st.sampled_from("`~"), st.text(max_size=3)), max_size=25).map(
    "".join
)
modes = st.sampled_from(["typography", "all", "off"])


@given(st.one_of(anything, st.text()), modes)
@example("\u200b```\n\u201d\n```\n\u201ccode\u201d\n```", "typography")
@example("`\u200b``x \u201c`y\u201d`", "typography")
@example("\u00a0 ```\n\u201d\n```\n\u201d", "all")
@example("e\u0301\u200bx", "typography")
def test_what_is_plain_stays_as_it_is(text, mode):
    once = plain(text, mode)
    twice = plain(once.text, mode)
    assert twice.text == once.text
    assert {"typography", "accents"}.isdisjoint(twice.changes)


@given(st.lists(st.tuples(prose, prose, st.booleans()), max_size=4), prose, modes)
def test_code_never_changes(sections, last, mode):
    """Texts that are built of prose and code, with what is code known from that."""
    text, codes = "", []
    for before, within, is_block in sections:
        inline = "".join(c for c in within if len(f"{c}x{c}".splitlines()) == 1)
        code = f"```\n{within}\n```\n" if is_block else f"`{inline}x`"
        text += f"{before}\n{code}" if is_block else f"{before}{code}"
        codes.append(code)
    made, place = plain(text + last, mode).text, 0
    for code in codes:
        assert code in made[place:]
        place = made.index(code, place) + len(code)


@given(st.one_of(anything, st.text()))
def test_letters_of_other_scripts_never_change(text):
    def others(text):
        return [c for c in text if c.isalpha() and not unicodedata.name(c, "").startswith(("LATIN", "MODIFIER"))]

    assert others(plain(text, "typography").text) == others(text)


@given(st.one_of(prose, st.text(st.characters(exclude_characters="`~"))))
def test_all_leaves_ascii_letters_or_drops(text):
    made = plain(text, "all")
    is_english = all(c.isascii() for c in made.text if c.isalpha())
    assert ("other_letters" in made.changes) == (not is_english)


@given(st.text(st.characters(max_codepoint=0x24F, exclude_characters="`~")))
def test_a_languages_accents_stay(text):
    """A text of which less than 95 % of the letters are English keeps the letters that it has."""
    letters = [c for c in text if c.isalpha()]
    if sum(map(str.isascii, letters)) < 0.95 * len(letters):
        assert [c for c in plain(text, "typography").text if c.isalpha()] == letters


@given(st.one_of(anything, st.text()))
def test_off_changes_nothing_but_commentary(text):
    assert plain(text, "off").text == text
    left = iter(text)
    assert all(character in left for character in clean(text, "off").text), "what is left stands there in this order"
    assert commentary_spans(text) or clean(text, "off").text == text


@given(st.text())
def test_marks_are_mended_in_place(text):
    made = in_place(text)
    assert len(made) == len(text)
    assert all(was == now or not was.isalpha() for was, now in zip(text, made, strict=True))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["\u201c", "`\u2014", "``\u00e9`", "\u200b", "caf\u00e9 ", "\u4f60\u201d", "a\u0301", "```\n\u201d"]
)
def test_long_texts_are_made_plain_in_time(unit):
    plain(unit * (200_000 // len(unit)), "typography")
