"""What meta-commentary looks like: words about the response instead of words that answer.

    judge("This revised response avoids harmful language.", topics_of(""))  # ("comment", 46)

The forms are those that real models wrote when asked for a revision. Few words give them away: a revised response, and
the assistant and the human in the third person. What only looks like them (the immune response, the human body, a
research assistant) is told apart by the words around it, or by what the whole text is about.
"""

import re
from collections.abc import Container
from typing import Literal

Kind = Literal["answer", "turn", "speaker", "label", "comment", "aside"]
Topic = Literal["responses", "assistants", "revisions"]

_JUDGED_LENGTH = 600
_STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")

_REPLY = r"(?:response|answer|reply)(?:s|es)?"
_TEXT = (
    rf"(?:{_REPLY}|(?:version|message|text|list|scenario|story|poem|paragraph|passage|email|letter|summary|statement|"
    r"conversation|dialogue|joke|output|sentence|question|suggestion|advice)s?)"
)
_REVISED = r"(?:revised|rewritten|reworded|rephrased|refined|polished|(?:re-)?edited|paraphrased)"
_CHANGED = (
    rf"(?:(?!(?:new|final) answer)(?:{_REVISED}|improved|updated|modified|alternat(?:iv)?e|enhanced|corrected|"
    r"suggested|new|final|better|safer))"
)
_ASSISTANT = r"(?:(?:the )?(?:assistant(?:'s)?|your|my)\s+)?"
_REVISE = r"(?:revise|rewrite|rephrase|reword|adjust|refine|modify)"
_HARM = (
    r"(?:harm(?:ful|less)?|(?:un)?ethical|racis[tm]|sexis[tm]|toxic|dangerous|illegal|insensitiv\w+|(?:in)?appropriate|"
    r"objectionable|controversial|offensive|derogatory|stereotypes?|bias(?:ed)?|respectful|inclusive|socially|"
    r"legally questionable|judg(?:e?mental|ing)|empath\w+|assumptions?|tone|language)"
)
_DOES = (
    r"(?:(?:\w+ly|also|now|still|no longer)\s+)*(?:is|are|was|were|has|had|do|does|did|can|could|may|might|should|"
    r"would|aims?|maintains?|\w{3,}(?<!s)(?:s|ed))\b"
)

_LINE_START = r"\s*(?:#+\s*|>\s*)?[*_]{0,3}"
_LABEL_END = r"[*_]*\s*:[*_]*[ \t]*"
_INTERJECTION = (
    r"(?:(?:certainly|sure|of course|absolutely|okay|ok|yes|understood|thank you[\w ]*|no problem)[,!.\s]*){1,2}"
)
_LEAD = (
    r"[\s\"'(\[*_>#-]*+(?:\d{1,2}[.)]\s+)?[\"'(\[*_]*+(?:(?:overall|in (?:conclusion|summary|general|addition|fact)|"
    r"also|to summari[sz]e|again|finally|lastly|additionally|furthermore|moreover|however|therefore|while|"
    r"although|note|as you can see|(?:please )?note that|it is (?:also )?(?:important|worth) (?:to note|noting) that)"
    r"[,:]?\s+){0,3}"
)
_OF_A_TEXT_TO_EDIT = (
    rf"\s+(?:of|to|for)\s+(?:the|your|this|that|these|an?)\s+(?!(?:\w+\s+)?(?:{_REPLY}|assistant)|original\s*[:,.])"
)


def _compiled(*forms: str) -> re.Pattern[str]:
    return re.compile("|".join(forms), re.IGNORECASE | re.MULTILINE)


def leading(*forms: str) -> re.Pattern[str]:
    """Some forms at the beginning of a sentence, behind a list marker and words such as `Overall,`."""
    return _compiled(f"{_LEAD}(?:{'|'.join(forms)})")


_TURN = _compiled(
    rf"{_LINE_START}(?:(?:\w+ )?(?:critique|revision|rewrite|edit)\s?(?:request|response)(?: \d+)?"
    rf"(?:{_LABEL_END}|(?=[.*_]*$))|(?:critique|human|user|comment)(?: \d)?{_LABEL_END})"
)
_SPEAKER = _compiled(rf"{_LINE_START}assistant{_LABEL_END}")
_LABEL = _compiled(
    rf"{_LINE_START}(?:(?:{_CHANGED}\s+){{0,2}}{_REVISED}\s+{_ASSISTANT}(?:{_TEXT}|revision)(?:\s+\d+)?"
    rf"(?:{_LABEL_END}|[*_]*$)|(?:{_REVISED}|(?:{_CHANGED}|your|my)\s+{_ASSISTANT}{_REPLY}|"
    rf"(?:the )?assistant's (?:\w+ )?{_REPLY}|(?:{_CHANGED}\s+)?revision(?:\s+\d+)?(?:\s*\([^)\n]{{0,30}}\))?)"
    rf"{_LABEL_END})",
    # or an announcement
    rf"[\s\"*_>(]*+(?:{_INTERJECTION})?(?:(?:here(?:'s| is| are)|below (?:is|are)|the following is|this is)\s+"
    rf"(?:[\w,'-]+\s+){{0,4}}?(?:{_REVISED}\s+(?:and\s+\w+\s+)?(?:\w+\s+)?(?:{_REPLY}|versions?|revisions?)|"
    rf"more\s+[\w-]+\s+(?:version|{_REPLY})|{_CHANGED}\s+(?:\w+\s+)?{_REPLY}|possible response|"
    r"(?:revision|rewrite|rewording)s?)\b"
    rf"(?!{_OF_A_TEXT_TO_EDIT})|i(?:'ve| have) (?:now |also )?{_REVISED}\b(?!\s+your)|"
    rf"let me {_REVISE} (?:that|this|my|the)\b|an? (?:{_CHANGED}|more \w+) {_REPLY} (?:would|could|might) be\b)"
    r"(?:[^:.!?\n]*(?::[*_\"]*[ \t]*|$)|[^:!?\n]*[.!]?\s*$)",
)
_HEADERS: dict[Kind, re.Pattern[str]] = {"turn": _TURN, "speaker": _SPEAKER, "label": _LABEL}

_OF_REVISION = leading(
    rf".*\b{_REVISED}\s+{_ASSISTANT}{_REPLY}\b",
    rf"(?:in\s+|with\s+|i hope\s+)?(?:this|these|my)\s+{_REVISED}\s+{_TEXT}\b",
    rf"the {_REVISED} (?:assistant\b|{_TEXT}\s+{_DOES})|in the {_REVISED} {_TEXT},",
    rf"(?:in|with)\s+(?:this|the|my)\s+(?:\w+\s+)?revision\b|(?:i hope )?this revision\b|the revision\s+{_DOES}",
    r"by (?:revising|rewriting|rephrasing|rewording) (?:the|this|my)\b",
    rf"this (?:new |updated )?(?:version|answer|reply|rewrite|wording|phrasing|rephrasing)\b.*\b{_HARM}\b",
    rf"this (?:maintains|avoids|removes|keeps)\b(?=.*\b(?:tone|content|language|wording)\b).*\b{_HARM}\b",
    # of revising
    rf"(?:to [\w ]+, )?(?:let me|let's|i(?:'ll| will|'d (?:just )?like to|'m going to))\b.*"
    rf"\b(?:{_REVISE}|paraphrase)\b(?! your)",
    r"i(?:'ll| will|'d (?:just )?like to|'m going to| have|'ve)? (?:now )?ma[kd]e (?:\w+ ){1,2}"
    r"(?:change|tweak|edit|adjustment)s?\b(?! to your)",
    r"i'm (?:not )?(?:just )?providing a response\b",
    r"i(?:'ll| will) keep (?:the same|my (?:\w+ )?response)\b",
    r"(?:i'm looking for|.*\bcrafting) an? (?:[\w-]+ )?response\b",
    r"(?:note: )?i(?:'ve| have)? (?:removed|rewrote|rephrased|reworded)\b(?! (?:your|from))",
    r".*\b(?:rephras|revis|rewrit|reword|edit)(?:e|ed|ing|ten) (?:the|this|my|your) (?:\w+ )?response\b",
    r".*\bremov(?:e|es|ed|ing) any and all\b",
    r".*\bmeta-?comment(?:ary|s)?\b",
    r"(?!.*(?:\b(?:sorry|apologi)|\?))(?:.*\b(?:my|your) (?:last|previous|original|initial|entire) responses?\b|"
    r"your response (?:was|is|\w\w+ed)\b)",
    r"(?:this|the) (?:user|person) (?:wants to know|is asking|(?:has )?(?:asked|provided|claimed|stated|expressed))\b",
    # to whoever is to judge it
    r"(?:please )?let me know (?:if|what|whether)\b.*\b(?:revision|adjustment|modification|edit|tweak|refinement|"
    r"(?:further|more|additional|other|any) change)s?\b",
    rf"(?:please )?let me know (?:if|what|whether)\b.*\b(?:this|the) (?:{_CHANGED} )?(?:version|response)\b",
    rf"(?:is|does|do|are|how(?:'s| is| does))\b.*\b(?:this|the|my) (?:revision\b|{_REVISED}\b|(?:{_CHANGED} )?"
    r"(?:version|response)\b.*\b(?:satisf\w+|acceptable|appropriate|meet|work|better|suitable)).*\?",
    rf"would you like (?:me to )?(?:{_REVISE}|make (?:any |further |more |additional )+)",
    rf".*\blike me to {_REVISE}\b.*\?",
    # of changes
    rf"(?:i|we)(?:'ve| have)? (?:also )?(?:removed|revised|rewrote|replaced|avoided|made sure)\b.*\b{_HARM}\b",
    r"(?:no (?:further |other )?(?:revision|change|edit)s? (?:is|are|was|were|needed|necessary)|end of revision)\b",
    r"(?:revision (?:explanation|notes?|score|summary)\b|rating:\s*\d|final verdict\s*:)",
    rf"(?:key |main )?(?:changes|modifications|revisions) made\b[\w ]{{0,40}}{_LABEL_END}",
    r"(?:the )?(?:changes|modifications|revisions)(?: made)? (?:in|to) (?:this|the) (?:revision|response|version)\b",
    r"(?:list|summary|explanation) of (?:the )?(?:changes|revisions|modifications)\b",
)
_OF_RESPONSE = leading(
    r"(?:this|the|these|both) (?:(?:new|final|updated|current|above|original|previous|initial|last) )?responses? "
    rf"(?!to |w(?:as|ere) )(?:(?:above|\w+ed|given) )?{_DOES}",
    r"(?:in|with|by \w+ing\b.*,|there (?:is|was) (?:no|nothing)\b.* in) (?:this|the) response\b(?! to|, i\b)",
    r"the (?:tone|language|wording|content|information|advice|style)\b.* (?:in|of) (?:this|the) response\b(?! to)",
    r".*\bthe (?:original|initial) response\b",
    r"the (?:last|previous|original|initial) (?:\w+ )?responses? (?:was|were)\b",
    rf"the (?:last |previous )?response to (?:my|your|the) \w+\b.* {_DOES}",
    r"the (?:[\w-]+,? ){0,3}tone of the (?:\w+ )?(?:statement|response|message|text)\b",
    rf"(?:the|this) \"[^\"\n]{{1,60}}\" response {_DOES}",
    r".*\b(?:human(?: being)?|user|person|speaker)'s (?:\w+ )?(?:response|reply)\b",
    r"the strongest argument (?:i|you) could (?:give|offer|make) is that\b",
    rf"the (?:original|previous|initial) (?:conversation|dialogue|statement|text|message) {_DOES}",
    r"(?:i'm afraid (?:that )?)?the (?:text|message|statement|advice) (?:contains|(?:that )?(?:you )?provided|given)\b",
    r"(?:the above response|the rest of the response)\b",
    r".*\bmy response (?:was|will|might|may|could)\b",
)
_OF_ASSISTANT = leading(
    rf".*\b(?:assistant|ai)'s (?:[\w-]+ ){{0,2}}(?:{_REPLY}|revision|advice|tone|message|actions|approach)\b",
    r".*\bthe (?:(?:ai|human) )?assistant response\b",
    r"the (?:user|human)'s (?:advice|response|message|statement|words|argument)\b",
    r"the ai(?:'s (?:role|response)\b|(?: \w+ly| not)* (?:was|ha[sd]|gave)\b)",
    r".*\bthe (?:(?:ai|human) )?assistant (?:\w+ly |also |then |now )*"
    r"(?:could|should|may|might|would|did|was|ha[sd]|gave|\w\w+ed)\b",
    r".*\b(?:the (?:(?:ai|human) )?assistant|(?:this|the) response)\b.*\bthe (?:human|user)\b",
    r".*\bthe (?:human|user)\b.*\bthe (?:(?:ai|human) )?assistant\b",
    r".*\bthe (?:human|user)'s (?:\w+ ){0,2}(?:question|request|prompt|query|message|dialogue|statement|concern)s?\b",
    r".*\bthe human (?:is|was|did|had|came|asks?|asked|seems?|attempts?|attempted)\b",
    r"in this (?:case|conversation|task|scenario|exchange), the (?:human|user)\b",
)
_ASIDE = leading(
    r"(?:.*\b(?:the|this|our) (?:(?:ai|human) )?assistant(?:'s)? \w|the ai(?:'s role)? (?:is|can|does)\b|"
    r"in this response, i(?:'m| am|'ve| have)\b)"
)
_GOES_ON = leading(
    r"(?:instead, )?(?!it is (?:also )?(?:important|essential|crucial|best|always))"
    r"(?:it|they|the (?:assistant|response|advice|information|language|tone|suggestions?|focus|content|user|human))"
    rf"(?: \w+(?:ed|en))? (?!seems to me){_DOES}"
)

INTRODUCTION = _compiled(
    rf"(?:{_INTERJECTION}$|(?:{_INTERJECTION})?(?:i(?:'d be|'m| am| would be) (?:happy|glad) to|i (?:can|will) help|"
    r"i understand|i apologi[sz]e|i'm sorry for (?:any|the) confusion|i appreciate|thank you|thanks|you're right)\b)"
    r"(?!.*\b(?:can't|cannot|unable|won't)\b)"
)
"""How an introduction to an answer begins, such as `Certainly!` or `I understand ...`."""

_TOPICS: dict[Topic, re.Pattern[str]] = {
    "responses": _compiled(
        r"\b(?:immune|stress|flight|inflammatory|emotional|physiological|allergic|emergency|body'?s|fear|pain|startle|"
        r"biological|natural|automatic|hormonal|nervous|sexual|trauma|conditioned|military|disaster|frequency)"
        r"\s+responses?\b"
    ),
    "assistants": _compiled(
        r"\b(?:research|teaching|medical|dental|legal|administrative|personal|virtual|digital|shop|sales|voice|"
        r"navigation)\s+assistants?\b|\bentered (?!a )\w+ mode\b"
    ),
    "revisions": _compiled(r"^[^\w\n]*+original(?:[ \t]+(?!response|answer|reply)\w+)?[*_]*[ \t]*:"),
}


def topics_of(text: str) -> frozenset[Topic]:
    """What a whole text is about, where that looks like commentary.

    Returns:
        `responses`, as in an answer about the immune system; `assistants`, as in one about a study; `revisions`, of a
        text that the user asked to have revised.
    """
    return frozenset(topic for topic, form in _TOPICS.items() if form.search(text))


def judge(sentence: str, topics: Container[Topic], after: str = "answer") -> tuple[Kind, int]:
    """What a sentence is, and how many of its characters that covers.

    A header covers no more than itself, so that an answer behind it on the same line is judged by itself.

    Args:
        sentence: A sentence with the white space behind it.
        topics: What the text is about, see `topics_of`.
        after: What the sentence before it is.

    Returns:
        `turn`: the name of someone else than the assistant; `speaker`: the assistant's name; `label`: a header or an
        announcement of a revised response; `comment`: words about the response; `aside`: words about the assistant;
        `answer`: everything else.
    """
    beginning = sentence[:_JUDGED_LENGTH].translate(_STRAIGHT_QUOTES)
    for kind, form in _HEADERS.items():
        if found := form.match(beginning):
            return ("answer" if kind == "label" and "revisions" in topics else kind), found.end()
    return _kind(beginning, topics, after), len(sentence)


def _kind(beginning: str, topics: Container[Topic], after: str) -> Kind:
    if _OF_REVISION.match(beginning) or ("responses" not in topics and _OF_RESPONSE.match(beginning)):
        return "comment"
    if "assistants" not in topics and _OF_ASSISTANT.match(beginning):
        return "comment"
    if "assistants" not in topics and _ASIDE.match(beginning):
        return "aside"
    if after in ("comment", "aside") and _GOES_ON.match(beginning):
        return "comment" if after == "comment" else "aside"
    return "answer"
