"""What meta-commentary looks like: words about the response instead of words that answer.

    judge("This revised response avoids harmful language.")  # ("comment", 46)

The forms are those that real models wrote when asked for a revision. A sentence is judged by its beginning, where a
text about its own subject differs from a text about itself.
"""

import re
from typing import Literal

Kind = Literal["answer", "turn", "speaker", "label", "comment"]

_JUDGED_LENGTH = 400
_STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")

_REPLY = r"(?:response|answer|reply)"
_ASSISTANT = r"(?:assistant(?:'s)?\s+)?"
_REVISED = r"(?:revised|rewritten|reworded|rephrased|refined|polished)"
_CHANGED = rf"(?:{_REVISED}|improved|updated|modified|alternative|enhanced|new|final|better|safer)"
_TEXT = (
    r"(?:response|answer|reply|version|message|text|list|scenario|story|poem|paragraph|passage|email|letter|summary|"
    r"statement|conversation|dialogue|joke)s?"
)
_HARM = (
    r"(?:harm(?:ful|less)?|(?:un)?ethical|racis[tm]|sexis[tm]|toxic|dangerous|illegal|insensitiv\w+|"
    r"(?:in)?appropriate|objectionable|controversial|offensive|derogatory|stereotypes?|bias(?:ed)?|respectful|"
    r"inclusive|socially|legally questionable)"
)
_DOES = (
    r"(?:(?:still|now|also|successfully|effectively|clearly)\s+)*(?:maintains?|removes?|avoids?|ensures?|refrains?|"
    r"acknowledges?|address(?:es)?|adheres?|emphasi[sz]es?|focus(?:es)?|provides?|respects?|encourages?|promotes?|"
    r"aims?|retains?|preserves?|upholds?|demonstrates?|conveys?|offers?|remains?|eliminates?|aligns?|reflects?|"
    r"validates?|clarif(?:y|ies)|discourages?|declines?|keeps?|highlights?|corrects?|omits?|uses?|does not|do not|"
    r"no longer|(?:is|are)\s+(?:(?:now|also|more|less|still|both|much)\s+)*(?:neutral|free|(?:in)?appropriate|"
    r"respectful|helpful|concise|clear|simpler|harm(?:less|ful)|inclusive|sensitive|suitable|friendly|polite|accurate|"
    r"safe|ethical|professional|informative|age-appropriate|balanced|empathetic)\b)"
)

_LINE_START = r"\s*(?:#+\s*|>\s*)?[*_]{0,3}"
_LABEL_END = r"[*_]*\s*:[*_]*[ \t]*"
_INTERJECTION = (
    r"(?:(?:certainly|sure|of course|absolutely|okay|ok|understood|thank you[\w ]*|no problem)[,!.\s]*){1,2}"
)
_LEAD = (
    r"[\s\"'(\[*_>#-]*+(?:\d{1,2}[.)]\s+)?[\"'(\[*_]*+(?:(?:overall|in conclusion|in summary|to summari[sz]e|"
    r"again|finally|additionally|furthermore|moreover|however|please note that|note that|note|in addition|also|"
    r"lastly|as you can see)[,:]?\s+){0,2}"
)

_TURN = (
    rf"{_LINE_START}(?:(?:comment:\s*)?(?:critique|revision|rewrite)\s?request\b(?:{_LABEL_END}|(?=\S*$))"
    rf"|additional revision request{_LABEL_END}|\"?(?:critique|human|user){_LABEL_END})"
)
_SPEAKER = rf"{_LINE_START}assistant{_LABEL_END}"
_HEADER = (
    rf"{_LINE_START}(?:(?:{_CHANGED}\s+){{0,2}}{_REVISED}\s+{_ASSISTANT}(?:{_REPLY}|version|text|revision|output)s?"
    rf"(?:\s+\d+)?(?:{_LABEL_END}|[*_]*$)|(?:{_REVISED}|(?:{_CHANGED}|your|my)\s+{_ASSISTANT}{_REPLY}|(?:the )?"
    rf"assistant's {_REPLY}|(?:{_CHANGED}\s+)?revision(?:\s+\d+)?(?:\s*\([^)\n]{{0,30}}\))?){_LABEL_END})"
)
_ANNOUNCEMENT = (
    rf"[\s\"*_>]*+(?:{_INTERJECTION})?(?:(?:here(?:'s| is| are)|below (?:is|are)|the following is|this is)\s+"
    rf"(?:[\w,'-]+\s+){{0,4}}?(?:{_REVISED}\s+(?:and\s+\w+\s+)?(?:\w+\s+)?(?:{_REPLY}|version|revision)s?"
    rf"|more\s+[\w-]+\s+(?:version|{_REPLY})|{_CHANGED}\s+(?:\w+\s+)?{_REPLY}s?|(?:revision|rewrite|rewording)s?)\b"
    rf"(?!\s+(?:of|to|for)\s+(?:the|your|this|that|these|an?)\s+(?!(?:\w+\s+)?(?:{_REPLY}|assistant)|original\s*[:,.]))"
    rf"|i(?:'ve| have) (?:now |also )?{_REVISED}\b(?!\s+your)|let me (?:revise|rephrase|rewrite) (?:that|this|my|the)\b"
    rf"|an? (?:{_CHANGED}|more \w+) {_REPLY} (?:would|could|might) be\b|here it is\b)"
    r"(?:[^:.!?\n]*(?::[*_\"]*[ \t]*|$)|[^:!?\n]*[.!]?\s*$)"
)

_COMMENTS = {
    "names the revised response": rf"(?:.*\b)?(?:this|these|the|my|our|both)\s+(?:final\s+|newly\s+)?{_ASSISTANT}"
    rf"{_REVISED}\s+{_ASSISTANT}{_REPLY}s?\b|{_REVISED}\s+{_ASSISTANT}{_REPLY}\b",
    "names the revised text": rf"(?:in\s+|with\s+|i hope\s+)?(?:this|these|my)\s+{_REVISED}\s+{_TEXT}\b"
    rf"|(?:in|with)\s+(?:this|the|my)\s+(?:\w+\s+)?revision\b|this revision\b|the revision\s+{_DOES}"
    rf"|the {_REVISED} (?:assistant\b|{_TEXT}\s+{_DOES})",
    "judges this version": rf"this (?:new |updated )?(?:version|rewrite|wording|phrasing|rephrasing)\b.*\b{_HARM}\b"
    rf"|this (?:maintains|avoids|removes|keeps)\b(?=.*\b(?:tone|content|language|wording)\b).*\b{_HARM}\b",
    "judges the assistant's response": rf"(?:the|this) (?:assistant|ai)'s (?:[\w-]+ ){{0,2}}"
    rf"(?:{_REPLY}|advice|tone)s?\b|by \w+ing\b.*,\s+(?:the assistant\b|(?:the|this) response\b)",
    "judges the assistant": r"(?:the|this) (?:revised )?assistant (?:(?:also|now|then|clearly|correctly) )*"
    r"(?:could|should|did|gives|gave|provide[sd]|helped|acknowledge[sd]|avoid(?:s|ed)|demonstrate[sd]|notes|noted|"
    r"emphasi[sz]e[sd]|addresse[sd]|maintain(?:s|ed)|remains|offer(?:s|ed)|respond(?:s|ed)|does not (?:provide|contain|"
    r"include|engage|offer)|ha[sd] (?:provided|removed|avoided|been))\b",
    "speaks of the assistant and the human": r".*\bthe assistant\b.*\bthe (?:human|user)\b"
    r"|.*\bthe (?:human|user)\b.*\bthe assistant\b",
    "speaks of the human": r"the human's (?:\w+ ){0,2}(?:question|request|prompt|query|message)s?\b"
    r"|in this (?:case|conversation|task|scenario|exchange), the (?:human|user)\b",
    "asks the reviewer": r"(?:please )?let me know (?:if|what|whether)\b.*\b(?:revision|adjustment|modification|edit|"
    r"tweak|refinement|(?:further|more|additional|other|any) change)s?\b"
    rf"|(?:please )?let me know (?:if|what|whether)\b.*\b(?:this|the) (?:{_CHANGED} )?(?:version|response)\b"
    rf"|(?:is|does|do|are|how(?:'s| is| does))\b.*\b(?:this|the|my) (?:revision\b|{_REVISED}\b|(?:{_CHANGED} )?"
    r"(?:version|response)\b.*\b(?:satisf\w+|acceptable|appropriate|meet|work|better|suitable)).*\?"
    r"|would you like (?:me to )?(?:revise|rewrite|rephrase|adjust|make (?:any |further |more |additional )+)"
    r"|.*\blike me to (?:revise|rewrite|rephrase|adjust|refine|modify)\b.*\?",
    "reports the change": r"(?:i|we)(?:'ve| have)? (?:also )?(?:removed|revised|rewrote|replaced|avoided|made sure)\b"
    rf".*\b{_HARM}\b",
    "lists the changes": r"revision (?:explanation|notes?|score|summary)\b|end of revision\b|rating:\s*\d"
    rf"|(?:key |main )?(?:changes|modifications|revisions) made\b[\w ]{{0,40}}{_LABEL_END}"
    r"|(?:the )?(?:changes|modifications|revisions)(?: made)? (?:in|to) (?:this|the) (?:revision|response|version)\b"
    r"|(?:list|summary|explanation) of (?:the )?(?:changes|revisions|modifications)\b|final verdict\s*:",
}
_BARE = rf"(?:this|the) (?:new |final |updated )?response (?:now )?{_DOES}"
_INTRODUCTION = (
    rf"(?:{_INTERJECTION})?(?:(?:i'd be|i'm|i am|i would be) (?:happy|glad) to help|i understand|i apologi[sz]e|"
    r"i appreciate|thank you|thanks|you're right)\b"
)
_TOPIC = (
    r"\b(?:immune|stress|flight|inflammatory|emotional|physiological|allergic|emergency|body'?s|fear|pain|startle|"
    r"biological|natural|automatic|hormonal|nervous|sexual|trauma|conditioned|military|disaster|frequency)\s+responses?\b"
)


def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(form, re.IGNORECASE)


_COMMENT_FORM = _compiled(f"{_LEAD}(?:{'|'.join(_COMMENTS.values())})")
_BARE_FORM = _compiled(_LEAD + _BARE)
_TURN_FORM = _compiled(_TURN)
_TOPIC_FORM = _compiled(_TOPIC)
_INTRODUCTION_FORM = _compiled(f"{_INTERJECTION}$|{_INTRODUCTION}")
_LABEL_FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("speaker", _compiled(_SPEAKER)),
    ("label", _compiled(_HEADER)),
    ("label", _compiled(_ANNOUNCEMENT)),
)


def judge(sentence: str, about_responses: bool = False) -> tuple[Kind, int]:
    """What a sentence is, and how many of its characters that covers.

    A label covers no more than itself, so that an answer behind it on the same line is judged by itself.

    Args:
        sentence: A sentence with the white space behind it.
        about_responses: Whether responses are the text's own subject, see `speaks_of_responses`.

    Returns:
        `turn`: a further turn that nobody asked for; `speaker`: the assistant's name; `label`: a header or an
        announcement of a revised response; `comment`: words about the response; `answer`: everything else.
    """
    beginning = sentence[:_JUDGED_LENGTH].translate(_STRAIGHT_QUOTES)
    if _TURN_FORM.match(beginning):
        return "turn", len(sentence)
    for kind, form in _LABEL_FORMS:
        if found := form.match(beginning):
            return kind, found.end()
    is_comment = _COMMENT_FORM.match(beginning) or (not about_responses and _BARE_FORM.match(beginning))
    return ("comment" if is_comment else "answer"), len(sentence)


def speaks_of_responses(text: str) -> bool:
    """Whether responses are the text's own subject, as in an answer about the immune system."""
    return _TOPIC_FORM.search(text) is not None


def introduces(text: str) -> bool:
    """Whether a text begins as an introduction to an answer does, such as `Certainly!` or `I understand ...`."""
    return _INTRODUCTION_FORM.match(text) is not None
