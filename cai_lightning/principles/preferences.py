"""How two responses are compared: preference principles, and few-shot comparisons in front of their question.

    principles = open_preferences("default")
    principles.draw(1, seed="42:0123456789abcdef.p0")
    examples = open_comparisons("default", reasoned=False).turns(principles.principles)

A feedback model chooses the better of two responses by a principle (Bai et al. 2022, section 4.1). Two layouts of
principles are read: ours, `{"name", "principles": [{"id", "question"}]}`, and Anthropic's `RLMadisonInstructions.json`,
a list of texts, which is fetched when it is asked for as `anthropic`. Of comparisons three: ours, `{"name",
"comparisons": [{"prompt", "first", "second", "answer", "thought"}]}`; Anthropic's `RLMadisonFewShotPrompts.json`,
dialogues with a better and a worse response; and, where chains of thought are asked for, its
`RLMadisonPrecogFewShotPrompts.json`, whole texts with a place for the principle.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len

from cai_lightning.principles import wording
from cai_lightning.principles.constitution import check_ids, find_file
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import FOREIGN, WRITTEN, Conversation, assistant, user
from cai_lightning.run.text import excerpt

INSTRUCTIONS = "RLMadisonInstructions.json"
PLAIN, REASONED = "RLMadisonFewShotPrompts.json", "RLMadisonPrecogFewShotPrompts.json"

_SHIPPED = Path(__file__).with_name("constitutions")
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant|H|A): ?")
_TEXT = re.compile(
    r"\s*Human: Consider the following conversation between a human[^\n]*:(?P<dialogue>\n\n.*)\n\n\{\}\n"
    r" \(A\) \[\[\[(?P<first>.*)\]\]\]\n \(B\) \[\[\[(?P<second>.*)\]\]\]\n\n"
    rf"Assistant: {re.escape(wording.REASONS)}(?P<thought>.*)\n\n"
    rf"Human:\s{re.escape(wording.VERDICT)} (?P<answer>\([AB]\))\s*",
    re.DOTALL,
)

Option = Literal["(A)", "(B)"]


@dataclass(frozen=True)
class PreferencePrinciple:
    """What a feedback model is asked, such as `Which response is more honest?`; the options are put behind it."""

    __pydantic_config__ = WRITTEN

    id: str
    question: str


@dataclass(frozen=True)
class Preferences:
    """Preference principles in their order, at least one; their ids are distinct."""

    __pydantic_config__ = WRITTEN

    name: str
    principles: tuple[PreferencePrinciple, ...]

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the principles; the layout and the formatting of the file do not count."""
        return manifest.digest([astuple(principle) for principle in self.principles])

    def draw(self, count: int, seed: str) -> list[PreferencePrinciple]:
        """So many distinct principles; of a larger number with the same seed they are the first."""
        return random.Random(seed).sample(self.principles, count)


def open_preferences(source: str | Path) -> Preferences:
    """Reads preference principles.

    Args:
        source: `default`, those written for this project; `anthropic`, the paper's 16; a JSON file in one of the
            layouts; or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    path = _SHIPPED / "preferences.json" if source == "default" else find_file(source, f"prompts/{INSTRUCTIONS}")
    found = _principles(path)
    if not found.principles:
        raise UserError(f"{path}: there are no preference principles in it")
    check_ids(path, [principle.id for principle in found.principles])
    return found


def _principles(path: Path) -> Preferences:
    content = load_json(path, "file of preference principles")
    if isinstance(content, list):
        texts = check(list[str], content, str(path))
        questions = [text.strip().removesuffix("Options:").strip() for text in texts]
        rows = [{"id": f"madison{n}", "question": question} for n, question in enumerate(questions)]
        return check(Preferences, {"name": path.stem, "principles": rows}, str(path))
    if isinstance(content, dict) and "principles" in content:
        return check(Preferences, content, str(path))
    raise UserError(
        f"{path}: unknown layout; expected an object with the key 'principles' (ours) or a list of texts (Anthropic), "
        f"found {excerpt(content)}"
    )


@dataclass(frozen=True)
class Comparison:
    """One example: a conversation, two responses to it, and which of them is better.

    Args:
        opening: The conversation up to its last human turn.
        first: The response that stands as `(A)`.
        second: That which stands as `(B)`.
        answer: The better one.
        thought: The chain of thought that leads to the answer; null where there is none.
    """

    opening: Conversation
    first: str
    second: str
    answer: Option
    thought: str | None = None

    def turns(self, asked: str) -> Conversation:
        """The example, worded as the question that it stands in front of."""
        reasoned = self.thought is not None
        talk = wording.preference(self.opening, asked, self.first, self.second, reasoned=reasoned)
        talk = wording.verdict(talk, self.thought) if self.thought is not None else talk
        return wording.answered(talk, self.answer)


@dataclass(frozen=True)
class Comparisons:
    """The examples of one file in their order; there may be none."""

    name: str
    examples: tuple[Comparison, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the examples; the layout and the formatting of the file do not count."""
        return manifest.digest([asdict(example) for example in self.examples])

    def turns(self, principles: Sequence[PreferencePrinciple]) -> Conversation:
        """All examples as turns of one conversation.

        Args:
            principles: The n-th example is asked by the n-th of them, and over again: so that all questions of a run
                begin with the same tokens, which engines read once.
        """
        asked = (principles[n % len(principles)].question for n in range(len(self.examples)))
        return [turn for example, each in zip(self.examples, asked, strict=True) for turn in example.turns(each)]


def open_comparisons(source: str, reasoned: bool) -> Comparisons:
    """Reads few-shot comparisons.

    Args:
        source: `none`, `default`, `anthropic`, a JSON file in one of the layouts, or a folder that holds Anthropic's
            prompt files.
        reasoned: Whether the examples shall have chains of thought.

    Raises:
        UserError: The file is missing or malformed, cannot be fetched, or has no chains of thought where they are
            asked for.
    """
    if source == "none":
        return Comparisons("none")
    path = (
        _SHIPPED / "comparisons.json"
        if source == "default"
        else find_file(source, f"prompts/{REASONED if reasoned else PLAIN}")
    )
    found = _comparisons(path)
    if not found.examples:
        raise UserError(f"{path}: there is no comparison in it; `none` goes without")
    if not reasoned:
        return Comparisons(found.name, tuple(_without_thought(example) for example in found.examples))
    if lacking := [n for n, example in enumerate(found.examples) if example.thought is None]:
        raise UserError(f"{path}, [{lacking[0]}]: this comparison has no chain of thought to show one by.")
    return found


def _without_thought(example: Comparison) -> Comparison:
    return Comparison(example.opening, example.first, example.second, example.answer)


@dataclass(frozen=True)
class _Written:
    """A comparison in our layout."""

    __pydantic_config__ = WRITTEN

    prompt: str
    first: str
    second: str
    answer: Option
    thought: str | None = None


@dataclass(frozen=True)
class _Ours:
    __pydantic_config__ = WRITTEN

    name: str
    comparisons: list[_Written]


@dataclass(frozen=True)
class _Anthropic:
    """A dialogue and, each in a list of one, what answers it better and worse; or a whole text."""

    __pydantic_config__ = FOREIGN

    prompt: str
    corrects: Annotated[list[str], Len(1, 1)] | None = None
    incorrects: Annotated[list[str], Len(1, 1)] | None = None


def _comparisons(path: Path) -> Comparisons:
    content = load_json(path, "file of comparisons")
    if isinstance(content, dict) and "comparisons" in content:
        ours = check(_Ours, content, str(path))
        made = (
            Comparison([user(row.prompt)], row.first, row.second, row.answer, row.thought) for row in ours.comparisons
        )
        return Comparisons(ours.name, tuple(made))
    if not isinstance(content, list):
        raise UserError(
            f"{path}: unknown layout; expected an object with the key 'comparisons' (ours) or a list (Anthropic),"
            f" found {excerpt(content)}"
        )
    return Comparisons(path.stem, tuple(_anthropic(path, number, value) for number, value in enumerate(content)))


def _anthropic(path: Path, number: int, value: Any) -> Comparison:
    """One of Anthropic's; where the order of the options is ours, the better response is `(A)` and `(B)` in turn."""
    row = check(_Anthropic, value, str(path), f"[{number}]")
    if not (row.corrects and row.incorrects):
        return _with_thought(path, number, row.prompt)
    opening = _turns(path, number, row.prompt.strip().removesuffix("Assistant:").strip())
    better, worse = row.corrects[0], row.incorrects[0]
    return Comparison(opening, worse, better, "(B)") if number % 2 else Comparison(opening, better, worse, "(A)")


def _with_thought(path: Path, number: int, text: str) -> Comparison:
    parts = _TEXT.fullmatch(text) if text.count("{}") == 1 else None
    if not parts:
        raise UserError(
            f"{path}, [{number}]: expected `corrects` and `incorrects`, or a conversation, one `{{}}` for the"
            f" principle, two options, a chain of thought and an answer; found {excerpt(text)}"
        )
    opening = _turns(path, number, parts["dialogue"].removeprefix("\n\n"))
    answer: Option = "(A)" if parts["answer"] == "(A)" else "(B)"
    return Comparison(opening, parts["first"], parts["second"], answer, parts["thought"].strip())


def _turns(path: Path, number: int, dialogue: str) -> Conversation:
    """The turns of a dialogue, to the byte behind the blank after each label."""
    before, *parts = _SPEAKER.split(dialogue)
    labels = [label[0] for label in parts[::2]]
    if before or not labels or labels != ["H", "A"] * (len(labels) // 2) + ["H"]:
        raise UserError(
            f"{path}, [{number}]: expected Human and Assistant in turn, Human last; found {excerpt(dialogue)}"
        )
    return [(user, assistant)[n % 2](text) for n, text in enumerate(parts[1::2])]
