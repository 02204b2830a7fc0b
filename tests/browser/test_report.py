"""The report in a browser: plots and viewer without an error, filters that filter, and hostile text that stays text.

make test-browser
"""

import time
from urllib.parse import urlencode

import pytest
from hostile_runs import HOSTILE, PROMPTS, TUNED, answer, prompt

from cai_lightning.run.records import prompt_id

pytestmark = pytest.mark.browser


def lines(page):
    return page.find_elements("css selector", "#list article .line")


def count(page):
    return page.find_element("id", "count").text


def choose(page, **fields):
    """Sets fields of the form as a reader would, and waits for the answer."""
    for name, value in fields.items():
        page.execute_script(
            "const field = document.querySelector(`[name=${arguments[0]}]`); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            name,
            value,
        )
    time.sleep(0.3)


def texts(page):
    """What is shown in the opened conversation, with escapes as they stand."""
    return [each.get_attribute("textContent") for each in page.find_elements("css selector", "article.open .text")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_without_an_error(page, width, scheme):
    opened = page(width=width, scheme=scheme)
    assert opened.get_log("browser") == []
    wide = opened.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, "the page is wider than the screen"


def test_every_plot_is_drawn_and_has_a_text_alternative(page):
    opened = page()
    for section, least in {"metrics": 3, "behaviours": 3, "tradeoffs": 1, "distributions": 3, "categories": 2}.items():
        found = opened.find_elements("css selector", f"#{section} figure svg")
        assert len(found) >= least, section
        assert all(each.size["width"] > 250 and each.size["height"] > 50 for each in found), section
        titles = [each.find_elements("css selector", "title") for each in found]
        assert all(len(each) > 1 and all(title.get_attribute("textContent") for title in each) for each in titles)


@pytest.mark.parametrize("width", [360, 1280])
def test_what_plots_say_is_readable_and_on_their_cards(page, width):
    opened = page(width=width)
    sizes = opened.execute_script(
        """return [...document.querySelectorAll("figure text")].map((text) => {
          const [box, card] = [text.getBoundingClientRect(), text.closest(".card").getBoundingClientRect()];
          const scale = text.ownerSVGElement.getScreenCTM().a;
          return [text.textContent, scale * parseFloat(getComputedStyle(text).fontSize),
                  box.left - card.left, card.right - box.right, card.bottom - box.bottom];
        })"""
    )
    assert len(sizes) > 100
    assert [text for text, font, *_ in sizes if not 10 <= font <= 18] == []
    assert [text for text, _, *room in sizes if min(room) < 0] == []


def test_plots_have_the_colors_of_the_page(page):
    for scheme, ink in {"light": "rgb(27, 36, 48)", "dark": "rgb(228, 232, 238)"}.items():
        opened = page(scheme=scheme)
        names = opened.find_elements("css selector", "#metrics figure g > text")
        assert ink in {each.value_of_css_property("fill") for each in names}


def test_dark_is_dark(page):
    colors = {
        scheme: page(scheme=scheme).execute_script("return getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colors == {"light": "rgb(247, 247, 245)", "dark": "rgb(17, 21, 26)"}


def test_hostile_text_is_shown_and_does_nothing(page):
    for number in range(len(HOSTILE)):
        opened = page(urlencode({"id": prompt_id(prompt(number)), "unfold": "all"}))
        shown = "\n".join(texts(opened))
        for plain in (HOSTILE[n] for n in (0, 1, 2, 4, 5)):
            assert plain not in prompt(number) or plain in shown
        assert f"Answer {number:03d} " in shown
        assert opened.execute_script("return window.harmed") is None
        assert opened.find_elements("css selector", "img, iframe, object, embed, [onerror], [onload]") == []
        assert len(opened.find_elements("css selector", "script")) == 2
        assert opened.get_log("browser") == []


def test_what_would_turn_or_hide_text_is_written_as_escapes(page):
    opened = page(urlencode({"id": prompt_id(prompt(3)), "unfold": "all"}))
    asked = texts(opened)[0]
    assert asked == "Question 003? \\u202egnp.exe \\u001b[31m \\u0000 \\u2028 \\u200b \ufffd \u0430"


def test_the_policy_stops_what_gets_in(page):
    opened = page()
    opened.execute_script(
        "const image = document.createElement('img'); image.setAttribute('onerror', 'window.harmed = 1');"
        "image.src = 'x.png'; document.body.append(image);"
        "const script = document.createElement('script'); script.textContent = 'window.harmed = 1';"
        "document.body.append(script);"
    )
    time.sleep(0.3)
    assert opened.execute_script("return window.harmed") is None
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))


def test_texts_are_folded_until_they_are_asked_for(page):
    opened = page(urlencode({"id": prompt_id(prompt(0))}))
    body = opened.find_element("css selector", "article.open")
    assert "Answer 000" not in body.text
    assert "words, folded" in body.text
    opened.find_element("css selector", "article.open .unfold").click()
    assert "Answer 000" in opened.find_element("css selector", "article.open").text
    assert "Question" not in lines(opened)[1].text
    opened.find_element("id", "unfold").click()
    assert "Question 001" in lines(opened)[1].text
    opened.find_element("css selector", "article.open .unfold").click()
    assert "Answer 000" not in opened.find_element("css selector", "article.open").text


def test_the_chain_and_the_reasons_are_shown(page):
    opened = page(urlencode({"id": prompt_id(prompt(9)), "unfold": "all"}))
    text = opened.find_element("css selector", "article.open").text
    assert "Critique 009." in text
    assert "Revision 009." in text
    assert f"Is it {HOSTILE[4]}?" in text
    assert "\\u202egnp.exe" in text, "why it is unscored"
    assert answer(9, True).split(" Answer")[0] in text


def test_a_thought_is_folded_even_where_texts_are_shown(page):
    opened = page(urlencode({"id": prompt_id(prompt(1)), "unfold": "all"}))
    body = opened.find_element("css selector", "article.open")
    assert "Thought of the critique 001." not in body.text
    hidden = [each.get_attribute("textContent") for each in body.find_elements("css selector", ".said details .remark")]
    assert f"Thought of the critique 001. {HOSTILE[1]}" in hidden
    assert f"Thought 001. {HOSTILE[1]}" in hidden
    assert opened.execute_script("return window.harmed") is None


def test_filters_filter(page):
    opened = page()
    assert count(opened) == f"1 to 50 of {PROMPTS} conversations"
    assert len(lines(opened)) == 50
    choose(opened, show="refused")
    assert count(opened).startswith("1 to 40 of 40 conversations")
    choose(opened, show="refused", run="base")
    assert count(opened).startswith("0 conversations")
    choose(opened, show="differ", run="")
    assert count(opened).startswith("1 to 40 of 40 ")
    choose(opened, show="unscored", metric="moderation_max")
    assert count(opened).startswith("1 to 12 of 12 ")
    choose(opened, show="worse", metric="")
    assert f"of {PROMPTS} " in count(opened), "all are less helpful"
    choose(opened, show="better", metric="harmlessness")
    assert f"of {PROMPTS} " in count(opened)
    choose(opened, show="cut", metric="")
    assert count(opened).startswith("1 to 1 of 1 conversation,")
    choose(opened, show="", category="benign")
    assert count(opened).startswith("1 to 30 of 30 ")
    choose(opened, category="", principle=f"p1 {HOSTILE[0]}")
    assert count(opened).startswith("1 to 40 of 40 ")
    choose(opened, principle="", q="answer 017")
    assert count(opened).startswith("1 to 1 of 1 ")
    opened.find_element("id", "clear").click()
    assert count(opened) == f"1 to 50 of {PROMPTS} conversations"
    assert opened.get_log("browser") == []


def test_the_order_is_by_the_chosen_score(page):
    opened = page(urlencode({"sort": "highest", "unfold": "all"}))
    assert "Question 119" in lines(opened)[0].text
    choose(opened, sort="lowest")
    assert "Question 000" in lines(opened)[0].text


def test_pages_turn(page):
    opened = page("unfold=all")
    opened.find_element("id", "later").click()
    assert count(opened) == f"51 to 100 of {PROMPTS} conversations"
    assert "Question 050" in lines(opened)[0].text
    opened.find_element("id", "earlier").click()
    assert "Question 000" in lines(opened)[0].text


def test_an_address_leads_to_what_it_names(page):
    wanted = prompt_id(prompt(77))
    opened = page(urlencode({"id": wanted}))
    assert opened.find_element("css selector", "article.open code").text == wanted
    top = opened.execute_script("return document.querySelector('article.open').getBoundingClientRect().top")
    assert 0 <= top < 900
    opened = page(urlencode({"q": "answer 01", "run": TUNED, "show": "refused"}))
    assert count(opened).startswith("1 to 3 of 3 ")
    assert opened.find_element("name", "q").get_attribute("value") == "answer 01"


def test_what_is_chosen_stands_in_the_address(page):
    opened = page()
    choose(opened, q="answer 01", show="refused")
    lines(opened)[0].click()
    address = opened.current_url
    opened = page(address.partition("#")[2])
    assert count(opened).startswith("1 to 3 of 3 ")
    assert opened.find_element("css selector", "article.open")


def test_categories_and_principles_lead_to_their_conversations(page):
    opened = page()
    link = opened.find_element("css selector", "#principles tbody a")
    opened.execute_script("arguments[0].click()", link)
    time.sleep(0.3)
    assert count(opened).startswith("1 to 40 of 40 ")
