"""An engine with an opinion of its own: what it says and how it chooses depends on seed and words alone.

It prefers the response with the higher `worth`, by a bias for what stands first; behind a chain of thought it adds what
that thinks. `ended_at` ends the process, as it were, at the call of this number; `failing` says which calls fail.
"""

import hashlib
import math
import re
from dataclasses import dataclass

from cai_lightning.engines import Choice, Engine, Reply, Sampling
from cai_lightning.run.errors import ReplyError

OPTIONS = re.compile(r" \(A\) \[\[\[(.*)\]\]\]\n \(B\) \[\[\[(.*)\]\]\]\n\n", re.DOTALL)

calls = []
ended_at = 0
failing = set()


def number(text):
    """Of a text, from -1 to 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**31 - 1


def worth(text, principle):
    return 3 * number(f"{text}|{principle}")


def share(first, second, principle, bias=0.0, thought=""):
    """Of the option that stands first, as a person would write it down."""
    better = worth(first, principle) - worth(second, principle) + bias + (number(thought) if thought else 0.0)
    return 1 / (1 + math.exp(-better))


@dataclass(eq=False)
class Opinion(Engine):
    """
    Args:
        model: Its name.
        bias: How much it prefers what stands first.
        same: It says the same to everybody.
        temperature: Of its sampling.
        tells: Whether it says beforehand that it tells probabilities.
    """

    concurrency = 4
    model: str = "opinion"
    bias: float = 0.3
    same: bool = False
    temperature: float = 1.0
    tells: bool | None = True

    def __post_init__(self):
        self.sampling, self.tells_probabilities = Sampling(temperature=self.temperature), self.tells
        self.serving, self.asked = False, []

    def start(self, device, adapter=None):
        self._note("start", str(adapter))
        self.serving = True

    def stop(self):
        calls.append((self.model, "stop", ""))
        self.serving = False

    async def reply(self, conversation, seed, logprobs=False):
        self._note("reply", seed)
        self.asked.append(conversation)
        text = "Well." if self.same else f"words of {seed}"
        return Reply(text, "length" if "response 1" in seed else "stop", 3, 9)

    async def choose(self, conversation, options):
        self._note("choose", conversation[-1]["content"])
        self.asked.append(conversation)
        thought = conversation[-2]["content"] if conversation[-1]["content"].startswith("So ") else ""
        question = conversation[-3 if thought else -1]["content"]
        if not OPTIONS.search(question):
            return Choice([0.5, 0.5], 1.0, 5)
        first, second = OPTIONS.search(question).groups()
        principle = question[: OPTIONS.search(question).start()].rpartition("\n\n\n")[2].removesuffix(" Options:\n")
        told = share(first, second, principle, self.bias, thought)
        return Choice([told, 1 - told], 0.75, 5)

    def _note(self, call, of):
        assert self.serving or call == "start"
        calls.append((self.model, call, of))
        if sum(each != "stop" for _, each, _ in calls) == ended_at:
            raise SystemExit(9)
        if call in failing or any(f in of for f in failing):
            raise ReplyError("the server answers 500")
