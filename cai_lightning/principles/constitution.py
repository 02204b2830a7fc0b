"""A constitution: the principles by which responses are critiqued and revised; and the paper's own files.

    constitution = open_constitution("default")
    path = find_file("anthropic", "evals/438HHHEvaluations.jsonl")

Three layouts are read: ours, `{"name", "principles": [{"id", "critique_request", "revision_request"}]}`; Anthropic's
`CritiqueRevisionInstructions.json`, which is fetched when it is asked for as `anthropic`; and Hugging Face's
`{"constitutions": [{"critic", "revision"}]}`.

The paper's files are fetched on first use from its public repository, checked against their SHA-256 and kept in the
user's cache folder; where there is no network, a folder of one's own does as well.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len

from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, load_json
from cai_lightning.run.records import WRITTEN
from cai_lightning.run.text import excerpt

BASE_URL = (
    "https://raw.githubusercontent.com/anthropics/ConstitutionalHarmlessnessPaper/"
    "831f7813dbafab659a526d7452f7adeac464b796/"
)
EVALUATION_FILES = ("HarmfulnessClassification.jsonl", "438HHHEvaluations.jsonl", "HarmfulVsEthical.jsonl")
INSTRUCTIONS = "CritiqueRevisionInstructions.json"
CHECKSUMS = {
    "evals/438HHHEvaluations.jsonl": "d1ee180289d3eeeb314ad862344cbd9af07f19c6d52a77524f9a1a21e7373c10",
    "evals/HarmfulVsEthical.jsonl": "dfce73b4fba5d6e463ef85f237650f669b91d4e5a7b073a47234643938573b83",
    "evals/HarmfulnessClassification.jsonl": "86364591010f14d6a17028dcbddeafbb1a527fd3eb74409d826c7507e6a0c697",
    "prompts/CritiqueRevisionFewShotPrompts.json": "cb8082c963af77b3e2713f1dc37adff01962b21ebb5f92d37877d559dfeb1085",
    "prompts/CritiqueRevisionInstructions.json": "a55071cbef36e2a944e8e4f3612eb6afaaa63b5d56e7e8c14732cedc864b4045",
    "prompts/RLMadisonFewShotPrompts.json": "f1fdce27f1b4693a172aa4249e097b3a3beadcbc5c0b58d720d716a6d4999d74",
    "prompts/RLMadisonInstructions.json": "aeadbe39725a89dc8d2fb0ed54f0a646a777dacd9b938175cb7b420fbd59930a",
    "prompts/RLMadisonPrecogFewShotPrompts.json": "9417ba076fec230ec2d7573dccacdc5e3cd2c0736cb8930bfb2aba78248dda70",
}

_DEFAULT = Path(__file__).with_name("constitutions") / "default.json"


@dataclass(frozen=True)
class Principle:
    """A request for a critique and the request for the revision that follows it."""

    __pydantic_config__ = WRITTEN

    id: str
    critique_request: str
    revision_request: str


@dataclass(frozen=True)
class Constitution:
    """Principles in their order, at least one.

    Args:
        name: The name its file gives it, or the file's own.
        principles: The principles; their ids are distinct.
    """

    __pydantic_config__ = WRITTEN

    name: str
    principles: tuple[Principle, ...]

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the principles; the layout and the formatting of the file do not count."""
        return manifest.digest([astuple(principle) for principle in self.principles])


def open_constitution(source: str | Path) -> Constitution:
    """Reads a constitution.

    Args:
        source: `default`, the principles written for this project; `anthropic`, the paper's; a JSON file in one of the
            layouts; or a folder that holds Anthropic's prompt files.

    Raises:
        UserError: The file is missing or malformed, or cannot be fetched; the message names the file, the place and
            what stands there.
    """
    path = _DEFAULT if source == "default" else find_file(source, f"prompts/{INSTRUCTIONS}")
    constitution = _read(path)
    if not constitution.principles:
        raise UserError(f"{path}: the constitution has no principles")
    check_ids(path, [principle.id for principle in constitution.principles])
    return constitution


def check_ids(path: Path, ids: Sequence[str]) -> None:
    """Makes sure that principles have ids of their own.

    Raises:
        UserError: Two have the same.
    """
    id, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: {count} principles have the id {id!r}; each needs its own")


def find_file(source: str | Path, file: str) -> Path:
    """Where one of the paper's files is.

    Args:
        source: `anthropic` fetches it; a folder holds it, itself or in `prompts` or `evals`; any other path is that of
            a file.
        file: Its path in the paper's repository, such as `prompts/CritiqueRevisionInstructions.json`, the 16 principles
            of critique and revision.

    Raises:
        UserError: The file can neither be found in the cache nor fetched, or is not the one expected.
    """
    if source == "anthropic":
        return _fetch(file)
    folder = Path(source).expanduser()
    held = [path for path in (folder / Path(file).name, folder / file) if path.is_file()]
    return held[0] if held else folder


def _fetch(path: str) -> Path:
    import pooch

    cache = pooch.create(path=pooch.os_cache("cai_lightning"), base_url=BASE_URL, registry=CHECKSUMS)
    try:
        return Path(cache.fetch(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"Could not fetch {BASE_URL}{path} ({error}). Without a network, name a copy instead: a folder with the "
            "evaluation files for `data.prompts`, the file of principles for `model.constitution` and that of examples "
            "for `model.few_shots`."
        ) from error


@dataclass(frozen=True)
class _HuggingFace:
    __pydantic_config__ = WRITTEN

    critic: str
    revision: str


@dataclass(frozen=True)
class Instruction:
    """The critique request stands in a list of one."""

    __pydantic_config__ = WRITTEN

    prompt: Annotated[list[str], Len(1, 1)]
    edit_request: str


def _read(path: Path) -> Constitution:
    """What a file in one of the layouts holds."""
    content = check(dict[str, Any], load_json(path, "constitution"), str(path))
    if "principles" in content:
        return check(Constitution, content, str(path))
    if "constitutions" in content:
        pairs = check(list[_HuggingFace], content["constitutions"], str(path), "constitutions")
        read = [Principle(f"hf{n}", pair.critic, pair.revision) for n, pair in enumerate(pairs)]
        return Constitution(path.stem, tuple(read))
    if any(isinstance(value, dict) and "edit_request" in value for value in content.values()):
        found = check(dict[str, Instruction], content, str(path))
        return Constitution(path.stem, tuple(without_labels(path, id, texts) for id, texts in found.items()))
    raise UserError(
        f"{path}: unknown layout; expected the key 'principles' (ours), 'constitutions' (Hugging Face) or objects with"
        f" 'prompt' and 'edit_request' (Anthropic), found the keys {excerpt(list(content))}"
    )


def without_labels(path: Path, id: str, texts: Instruction) -> Principle:
    """Anthropic's texts carry the dialogue's labels around them."""
    critique = texts.prompt[0].removeprefix("CritiqueRequest:").removesuffix("Critique:")
    revision = texts.edit_request.removeprefix("RevisionRequest:").removesuffix("Revision:")
    return check(Principle, {"id": id, "critique_request": critique, "revision_request": revision}, str(path), id)
