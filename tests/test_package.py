"""What is installed is whole: each file that is no module, and the place that vLLM is pointed to."""

import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_file_that_is_no_module_is_installed():
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]["cai_lightning"]
    package = ROOT / "cai_lightning"
    found = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    assert found == installed
    assert all(any(package.glob(pattern)) for pattern in patterns)


def test_the_plugin_of_vllm_is_where_it_is_said_to_be():
    for place in SETTINGS["project"]["entry-points"]["vllm.general_plugins"].values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "cai_lightning").rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
