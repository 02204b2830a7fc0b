"""The paper's own files, fetched on first use from its public repository and checked against their SHA-256.

    folder = evaluation_files()
    principles = find_prompt_file("anthropic", "CritiqueRevisionInstructions.json")

They are kept in the user's cache folder; where there is no network, a folder of one's own does as well.
"""

from pathlib import Path

from cai_lightning.run.errors import UserError

BASE_URL = (
    "https://raw.githubusercontent.com/anthropics/ConstitutionalHarmlessnessPaper/"
    "831f7813dbafab659a526d7452f7adeac464b796/"
)
EVALUATION_FILES = ("HarmfulnessClassification.jsonl", "438HHHEvaluations.jsonl", "HarmfulVsEthical.jsonl")
CHECKSUMS = {
    "evals/438HHHEvaluations.jsonl": "d1ee180289d3eeeb314ad862344cbd9af07f19c6d52a77524f9a1a21e7373c10",
    "evals/HarmfulVsEthical.jsonl": "dfce73b4fba5d6e463ef85f237650f669b91d4e5a7b073a47234643938573b83",
    "evals/HarmfulnessClassification.jsonl": "86364591010f14d6a17028dcbddeafbb1a527fd3eb74409d826c7507e6a0c697",
    "prompts/CritiqueRevisionFewShotPrompts.json": "cb8082c963af77b3e2713f1dc37adff01962b21ebb5f92d37877d559dfeb1085",
    "prompts/CritiqueRevisionInstructions.json": "a55071cbef36e2a944e8e4f3612eb6afaaa63b5d56e7e8c14732cedc864b4045",
}


def evaluation_files() -> Path:
    """The folder that holds the three evaluation files.

    Raises:
        UserError: A file can neither be found in the cache nor fetched, or is not the one expected.
    """
    first, *_ = [_fetch(f"evals/{name}") for name in EVALUATION_FILES]
    return first.parent


def prompt_file(name: str) -> Path:
    """One of the paper's prompt files.

    Args:
        name: `CritiqueRevisionInstructions.json`, the 16 principles of critique and revision, or
            `CritiqueRevisionFewShotPrompts.json`, the examples that stand in front of them.

    Raises:
        UserError: The name is unknown, or the file can neither be found in the cache nor fetched.
    """
    if f"prompts/{name}" not in CHECKSUMS:
        known = ", ".join(path.removeprefix("prompts/") for path in CHECKSUMS if path.startswith("prompts/"))
        raise UserError(f"{name!r} is not among the paper's prompt files known here: {known}.")
    return _fetch(f"prompts/{name}")


def find_prompt_file(source: str, name: str) -> Path:
    """Where one of the paper's prompt files is.

    Args:
        source: `anthropic` fetches it; a folder holds it, itself or in `prompts`; any other path is that of a file.
        name: As in `prompt_file`.
    """
    if source == "anthropic":
        return prompt_file(name)
    folder = Path(source)
    held = [path for path in (folder / name, folder / "prompts" / name) if path.is_file()]
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
