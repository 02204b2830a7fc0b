#!/usr/bin/env python3
"""Compares what two checkouts have written in their demo: texts and ids to the letter, numbers to four digits.

    python scripts/same_figures.py OLD NEW

Reads every JSON, JSON Lines, CSV and Markdown file under `runs/` and `report/`. What two runs of one checkout differ by
is left out: times, versions, class paths, and digests of what holds them. Ends with 1 where something differs.
"""

import argparse
import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEFT_OUT = (
    r"created|finished|seconds|.*_per_s|mfu|memory_gb|versions?|class_path|class|.*\.class|digests?|digest of .*|key|"
    r"fingerprint|config|adapter|target_modules|peft_version"
)
"""Whole names of fields that two runs of one checkout may differ by; an adapter's digest holds PEFT's settings, too."""
DIGITS = 1e-4
FOLDERS = ("runs", "report")
LONGEST = 100
MISSING = "(missing)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--leave-out", nargs="+", default=[], help="further names of fields, such as ci95")
    args = parser.parse_args()
    left_out = re.compile("|".join([LEFT_OUT, *args.leave_out]))
    files = names(args.old) | names(args.new)
    if not files:
        raise SystemExit(f"neither {args.old} nor {args.new} holds runs: run the demo there")
    different = 0
    for name in sorted(files):
        found = list(compare_files(args.old / name, args.new / name, left_out))
        different += bool(found)
        for line in found[:10]:
            print(f"{name}: {line}")
        if found[10:]:
            print(f"{name}: {len(found) - 10} further differences")
    print(f"{len(files)} files, {different} of them different")
    raise SystemExit(different > 0)


def names(checkout: Path) -> set[str]:
    """The files to compare, by their names in the checkout."""
    found = (path for folder in FOLDERS for path in (checkout / folder).rglob("*") if path.suffix in READERS)
    return {str(path.relative_to(checkout)) for path in found}


def compare_files(old: Path, new: Path, left_out: re.Pattern[str]) -> Iterator[str]:
    for path in (old, new):
        if not path.exists():
            yield f"{path} is missing"
            return
    read = READERS[old.suffix]
    yield from differences(read(old), read(new), left_out)


def differences(old: Any, new: Any, left_out: re.Pattern[str], place: str = "") -> Iterator[str]:
    """Where two values differ, each as `place: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if not left_out.fullmatch(key):
                yield from differences(old.get(key, MISSING), new.get(key, MISSING), left_out, f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, left_out, f"{place}[{number}]")
    elif not same(old, new):
        yield f"{place}: {str(old)[:LONGEST]!r} -> {str(new)[:LONGEST]!r}"


def same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=DIGITS, abs_tol=1e-9) or (math.isnan(old) and math.isnan(new))
    return type(old) is type(new) and old == new


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_json_lines(path: Path) -> dict[str, list[Any]]:
    """Rows by their id, for processes that work side by side finish them in any order."""
    rows: dict[str, list[Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        key = " ".join(str(row[name]) for name in ("id", "metric", "column") if name in row)
        rows.setdefault(key, []).append(row)
    return rows


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return [{name: as_number(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]


def read_text(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def as_number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


READERS = {".json": read_json, ".jsonl": read_json_lines, ".csv": read_csv, ".md": read_text}


if __name__ == "__main__":
    main()
