#!/usr/bin/env python
"""Kills `predict` at random moments over one corpus, starts it again each time, and looks whether any row is lost.

    python scripts/kill_test.py --kills 100 --seed 0
    python scripts/kill_test.py --kills 100 --labels     # responses and labels of AI feedback in place of revisions

The engine only waits, and fails now and then. Half of the runs have one process, the others two, of which the first,
the second or both are killed: while they start, while what was left is merged, or once some new rows are on disk. After
each kill every process has to end, and every row that stood on disk has to stand there unchanged. In the end `predict`
runs through, and its file has to hold exactly the ids asked for, each once, in their order. Of AI feedback, whose
prompts come a few at a time, no response that stood on disk may have been drawn again, with labels or still without.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import yaml

from cai_lightning.cli import lightning_cli  # noqa: F401 - imported once, for all the processes that are forked
from cai_lightning.cli.main import main
from cai_lightning.data.prompts import read_prompts
from cai_lightning.engines import Choice, Engine, Reply, Sampling
from cai_lightning.run import jsonl
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Conversation

MARK = "CAI_KILL_TEST"
"""Environment variable that tells the processes of this test from all others."""

ROWS_PER_KILL = 30
MORE = 10
"""Pairs that a run of AI feedback makes, first all responses, then all labels."""

PATIENCE = 60.0
VICTIMS = [(1, (0,)), (2, (0,)), (1, (0,)), (2, (1,)), (1, (0,)), (2, (0, 1))]
"""Number of processes, and the ranks that are killed, in turn."""

Moment = Callable[[], bool]


class WaitingEngine(Engine):
    """Waits for every reply, which is never the same twice, and fails now and then."""

    concurrency = 4
    NOT_FINGERPRINTED = frozenset({"seconds", "failing"})

    def __init__(self, seconds: float = 0.1, failing: float = 0.02) -> None:
        self.model, self.sampling = "none", Sampling()
        self.seconds, self.failing = seconds, failing

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        pass

    def stop(self) -> None:
        pass

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        await asyncio.sleep(random.uniform(0, 2 * self.seconds))
        if random.random() < self.failing:
            raise ReplyError("failed by chance")
        return Reply(f"{seed} {os.getpid()} {time.time_ns()} " + "word " * 100, "stop", 100, 10)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        await self.reply(conversation, "")
        share = random.random()
        return Choice([share, 1 - share], random.random())


class KillTest:
    """One corpus, and what is on disk of it.

    Args:
        folder: Holds everything.
        rows: Prompts of the corpus.
        seed: Of the moments.
        labels: Whether pairs are labelled; otherwise responses are revised.
    """

    def __init__(self, folder: Path, rows: int, seed: int, labels: bool) -> None:
        self.run, self.config, self.log = folder / "run", folder / "kill.yaml", folder / "log.txt"
        self.file = self.run / ("preferences.jsonl" if labels else "revisions.jsonl")
        self.more = "--data.limit={}" if labels else ""
        self.responses: dict[object, tuple[str, str]] = {}
        self.draw = random.Random(seed)
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": f"How do I bake cake {n}?"}) + "\n" for n in range(rows)))
        self.config.write_text(yaml.safe_dump({"predict": _section(prompts, LABELS if labels else REVISIONS)}))
        self.ids = [f"{prompt.id}.p0" if labels else prompt.id for prompt in read_prompts(str(prompts))]
        self.known: dict[object, jsonl.Row] = {}

    def kill_once(self, processes: int, ranks: tuple[int, ...]) -> str:
        """Starts predict, kills it, waits and checks; says what it did, or nothing if predict had ended before."""
        first = self._start(processes, *filter(None, [self.more.format(len(self.known) + MORE)]))
        name, reached = self._moment(time.monotonic(), processes, ranks)
        while not (reached() and (pids := _pids(first, ranks))):
            if _ended(first):
                return ""
            time.sleep(0.0005)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        _wait(first, killed)
        seconds = time.monotonic() - killed
        self.check()
        who = " and ".join(map(str, ranks))
        return f"rank {who} of {processes} {name}: all gone after {seconds:.1f} s, {len(self.known)} rows kept"

    def finish(self) -> None:
        """Runs predict to its end, and compares what is there with what was asked for."""
        first = self._start(2, "--model.engine.seconds=0.002", "--model.engine.failing=0")
        _, status = os.waitpid(first, 0)
        assert status == 0, f"status {status} at the end"
        self.check()
        ids = [row["id"] for _, row in jsonl.read_lines(self.file)]
        assert ids == self.ids, f"{len(ids)} rows, {len(set(ids))} ids; {len(self.ids)} were asked for"
        unfinished = (f"{self.file.stem}.rank*", "pairs*", "failed*")
        left = [path.name for pattern in unfinished for path in self.run.glob(pattern)]
        assert not left, f"left over: {left}"

    def check(self) -> None:
        """No row that stood on disk is gone or made again."""
        rows = jsonl.read(self.file)
        lost = [id for id, row in self.known.items() if rows.get(id) != row]
        assert not lost, f"{len(lost)} rows are lost or were made again, such as {lost[0]}"
        self.known = rows
        pairs = jsonl.read(self.run / "pairs.jsonl") | rows
        responses = {id: (row["first"], row["second"]) for id, row in pairs.items() if "first" in row}
        again = [id for id, pair in self.responses.items() if responses.get(id) != pair]
        assert not again, f"the responses of {len(again)} pairs are lost or were drawn again, such as {again[0]}"
        self.responses = responses

    def _start(self, processes: int, *overrides: str) -> int:
        arguments = ["predict", "--config", str(self.config), "--run", str(self.run)]
        pid = os.fork()
        if not pid:
            _be_predict([*arguments, f"--trainer.devices={processes}", *overrides], self.log)
        return pid

    def _moment(self, began: float, processes: int, ranks: tuple[int, ...]) -> tuple[str, Moment]:
        """Its name, and whether it is there; rank 0 merges before there are others."""
        kind = self.draw.choice(["start", "merge", "rows", "rows"])
        if kind == "start":
            seconds = self.draw.uniform(0, 1 if processes == 1 else 8)
            return f"{seconds:.1f} s after its start", lambda: time.monotonic() > began + seconds
        if kind == "merge" and ranks == (0,) and jsonl.rank_files(self.file):
            fresh = self.file.with_name(f".{self.file.name}.new")
            return "while it merges", lambda: fresh.exists() or not jsonl.rank_files(self.file)
        rows, before = self.draw.randint(1, 12), self._lines()
        return f"after {rows} rows", lambda: self._lines() >= before + rows

    def _lines(self) -> int:
        journals = (self.file, self.run / "pairs.jsonl")
        return sum(_lines(file) for journal in journals for file in (journal, *jsonl.rank_files(journal)))


def kill(test: KillTest, count: int) -> Iterator[str]:
    """Kills so often, and says what it did each time."""
    for number in range(count):
        done = ""
        while not done:
            assert len(test.known) < len(test.ids), "the corpus is finished before its time"
            done = test.kill_once(*VICTIMS[number % len(VICTIMS)])
        yield done


ENGINE = {"class_path": "kill_test.WaitingEngine"}
SELECTOR = {"class_path": "cai_lightning.principles.selection.RandomSelector"}
REVISIONS = {
    "class_path": "cai_lightning.modules.CritiqueRevision",
    "init_args": {"engine": ENGINE, "selector": SELECTOR},
}
LABELS = {"class_path": "cai_lightning.modules.AIFeedback", "init_args": {"engine": ENGINE}}


def _section(prompts: Path, model: dict[str, object]) -> dict[str, object]:
    return {
        "model": model,
        "data": {"class_path": "cai_lightning.data.PromptData", "init_args": {"prompts": str(prompts)}},
        "trainer": {"accelerator": "cpu"},
    }


def _be_predict(arguments: list[str], log: Path) -> None:
    """Becomes `python -m cai_lightning predict`, which is also how Lightning then starts the second process."""
    os.environ |= {MARK: str(os.getppid()), "PYTHONPATH": str(Path(__file__).parent)}
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("cai_lightning.__main__")
    sys.argv[1:] = arguments
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = 1
    try:
        status = main(arguments)
    finally:
        os._exit(status)


def _lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except FileNotFoundError:  # merged in between
        return 0


def _pids(first: int, ranks: tuple[int, ...]) -> list[int]:
    """The processes of these ranks; none where one of them does not run yet."""
    pids = [[first] if rank == 0 else _others(f"LOCAL_RANK={rank}") for rank in ranks]
    return [pid for found in pids for pid in found] if all(pids) else []


def _others(variable: str = "") -> list[int]:
    """The processes that the first has started, by the mark in their environment."""
    marks = [f"{text}\0".encode() for text in (f"{MARK}={os.getpid()}", variable)]
    environments = ((int(folder.name), _environment(folder)) for folder in Path("/proc").glob("[0-9]*"))
    return [pid for pid, environment in environments if all(mark in environment for mark in marks)]


def _environment(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:  # another's, or gone
        return b""


def _ended(first: int) -> bool:
    pid, status = os.waitpid(first, os.WNOHANG)
    assert not pid or status == 0, f"predict ended by itself with status {status}"
    return pid != 0


def _wait(first: int, since: float) -> None:
    """Waits until the first process and all others are gone."""
    status = None
    while status is None or _others():
        assert time.monotonic() < since + PATIENCE, f"still there after {PATIENCE} s: {first}, {_others()}"
        time.sleep(0.01)
        if status is None:
            pid, code = os.waitpid(first, os.WNOHANG)
            status = code if pid else None
    assert status != 0, "a run that was killed says that it has succeeded"


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="How often.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    parser.add_argument("--labels", action="store_true", help="Kills AI feedback.")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(Path(folder), ROWS_PER_KILL * options.kills, options.seed, options.labels)
        try:
            for number, done in enumerate(kill(test, options.kills), 1):
                print(f"{number:4}  {done}", flush=True)
            test.finish()
        except AssertionError:
            print(test.log.read_text()[-3000:], file=sys.stderr)
            raise
    minutes = (time.monotonic() - began) / 60
    print(f"{options.kills} kills, {len(test.ids)} rows, each of them there exactly once; {minutes:.1f} minutes")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _command_line()
