"""Few-shot examples of critique and revision, which keep a model from confusing the two (Bai et al. 2022, section 3.1).

    examples = open_few_shots("default").turns(suffix, critique=True)

Two layouts are read: ours, `{"name", "few_shots": [{"prompt", "response", "critique_request", "critique",
"revision_request", "revision"}]}`, and Anthropic's `CritiqueRevisionFewShotPrompts.json`, a list of dialogues in which
every turn has its label in front.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai_lightning.principles import wording
from cai_lightning.principles.constitution import Principle, find_file
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import WRITTEN, Conversation, assistant, user
from cai_lightning.run.text import excerpt

DIALOGUES = "CritiqueRevisionFewShotPrompts.json"
_DEFAULT = Path(__file__).with_name("constitutions") / "few_shots.json"
_LABEL = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|CritiqueRequest|Critique|RevisionRequest|Revision):")
_ENDING = ["CritiqueRequest", "Critique", "RevisionRequest", "Revision"]


@dataclass(frozen=True)
class FewShot:
    """One complete example.

    Args:
        opening: The dialogue up to its last human turn.
        response: What the assistant answers to it.
        principle: The requests for the critique and the revision.
        critique: The critique of the response.
        revision: The response revised.
    """

    opening: Conversation
    response: str
    principle: Principle
    critique: str
    revision: str

    def turns(self, suffix: str, critique: bool) -> Conversation:
        """The example, worded as the dialogue that it stands in front of."""
        talk = wording.answered(self.opening, self.response)
        if critique:
            talk = wording.answered(wording.critique(talk, self.principle), self.critique)
        return wording.answered(wording.revision(talk, self.principle, suffix), self.revision)


@dataclass(frozen=True)
class FewShots:
    """The examples of one file in their order; there may be none."""

    name: str
    examples: tuple[FewShot, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the examples; the layout and the formatting of the file do not count."""
        return manifest.digest([asdict(example) for example in self.examples])

    def turns(self, suffix: str, critique: bool) -> Conversation:
        """All examples as turns of one conversation.

        Args:
            suffix: Sentence put behind every request for a revision.
            critique: Whether critiques are asked for; else the examples are of direct revisions too.
        """
        return [turn for example in self.examples for turn in example.turns(suffix, critique)]


def open_few_shots(source: str) -> FewShots:
    """`none`, `default`, `anthropic`, a JSON file in either layout, or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched.
    """
    if source == "none":
        return FewShots("none")
    path = _DEFAULT if source == "default" else find_file(source, f"prompts/{DIALOGUES}")
    content = load_json(path, "file of few-shot examples")
    if isinstance(content, list):
        name, examples = path.stem, [_dialogue(path, f"[{n}]", value) for n, value in enumerate(content)]
    elif isinstance(content, dict) and "few_shots" in content:
        ours = check(_Ours, content, str(path))
        name, examples = ours.name, [example.as_few_shot() for example in ours.few_shots]
    else:
        raise UserError(
            f"{path}: unknown layout; expected an object with the key 'few_shots' (ours) or a list of dialogues"
            f" (Anthropic), found {excerpt(content)}"
        )
    if not examples:
        raise UserError(f"{path}: there is no example in it; `none` goes without examples")
    return FewShots(name, tuple(examples))


@dataclass(frozen=True)
class _Written:
    """An example in our layout."""

    __pydantic_config__ = WRITTEN

    prompt: str
    response: str
    critique_request: str
    critique: str
    revision_request: str
    revision: str

    def as_few_shot(self) -> FewShot:
        principle = Principle("few-shot", self.critique_request, self.revision_request)
        return FewShot([user(self.prompt)], self.response, principle, self.critique, self.revision)


@dataclass(frozen=True)
class _Ours:
    __pydantic_config__ = WRITTEN

    name: str
    few_shots: list[_Written]


def _dialogue(path: Path, place: str, value: Any) -> FewShot:
    """One of Anthropic's texts; an empty `Human:` at its end, where the next dialogue would begin, does not count."""
    text = check(str, value, str(path), place).strip().removesuffix("\n\nHuman:").strip()
    parts = _LABEL.split(text)
    labels, words = parts[1::2], parts[2::2]
    spoken = labels[:-4]
    if parts[0] or not spoken or labels != ["Human", "Assistant"] * (len(spoken) // 2) + _ENDING:
        raise UserError(
            f"{path}, {place}: expected a dialogue of Human and Assistant in turn, then {', '.join(_ENDING)};"
            f" found {', '.join(labels) or excerpt(text)}"
        )
    if silent := [label for label, said in zip(labels, words, strict=True) if not said.strip()]:
        raise UserError(f"{path}, {place}: {silent[0]} says nothing.")
    *said, critique_request, critique, revision_request, revision = map(str.strip, words)
    opening = [(user, assistant)[n % 2](text) for n, text in enumerate(said[:-1])]
    return FewShot(opening, said[-1], Principle("few-shot", critique_request, revision_request), critique, revision)
