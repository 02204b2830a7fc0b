"""The engine for GPUs, one or many: vLLM batches what is asked at the same time and shares what conversations share.

engine = VLLMEngine("Qwen/Qwen2.5-3B-Instruct", Sampling(max_new_tokens=256), tensor_parallel_size=2)
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import safe_open

from cai_lightning.engines.base import Choice, Engine, Reply, Sampling
from cai_lightning.engines.sampling import OptionTree, settle_sampling
from cai_lightning.engines.transcripts import Template, Transcripts
from cai_lightning.engines.vllm_process import VLLMProcess, import_vllm, sampling_parameters
from cai_lightning.models.hub import check_adapter, opening
from cai_lightning.models.loading import DType, is_gguf, is_whole_model, load_config, load_tokenizer, warn_of_wording
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation


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
    concurrency: int = 256

    def __init__(
        self,
        model: str,
        sampling: Sampling = Sampling(),
        concurrency: int = 256,
        dtype: DType = "auto",
        template: Template = "chat",
        chat_template_kwargs: dict[str, Any] | None = None,
        max_model_len: int | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        distributed_executor_backend: Literal["mp", "ray"] | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.sampling = settle_sampling(sampling, model)
        self.concurrency = concurrency
        self.dtype: DType = dtype
        self.template: Template = template
        self.chat_template_kwargs = chat_template_kwargs
        self.max_model_len = max_model_len
        self.tensor_parallel_size = tensor_parallel_size
        self.gpu_memory_utilization = gpu_memory_utilization
        self.distributed_executor_backend = distributed_executor_backend
        self.arguments = arguments
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
        tokenizer = load_tokenizer(self.model, self.chat_template_kwargs)
        if adapter is not None and self.template == "chat":
            warn_of_wording(tokenizer, adapter)
        self._transcripts = Transcripts(tokenizer, self.template)
        sampling_parameters(**self._drawing(""))  # what is refused of it is said before the model loads
        arguments = {**self._own_arguments(), **_devices(device, self.tensor_parallel_size)}
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
        """Each beginning of the options is a request, and the conversation before it comes from the prefix cache."""
        transcripts = self._serving()[1]
        ids, tree = transcripts.encode(conversation), OptionTree(transcripts.options(options))
        found = await asyncio.gather(*(self._next(ids, begun, tree.following(begun)) for begun in tree.beginnings))
        return tree.choice({part: logprob for known in found for part, logprob in known.items()})

    async def _next(self, ids: list[int], begun: tuple[int, ...], tokens: list[int]) -> dict[tuple[int, ...], float]:
        """How likely each of some tokens is behind a beginning."""
        wanted = {"temperature": 0.0, "max_tokens": 1, "logprob_token_ids": tokens}
        completion = await self._serving()[0].complete([*ids, *begun], **wanted)
        return {(*begun, token): completion.logprobs[0][token].logprob for token in tokens}

    def _drawing(self, seed: str) -> dict[str, Any]:
        """How vLLM draws a reply; text is looked at on the way only where a stop string may end it."""
        sampling = self.sampling
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "max_tokens": sampling.max_new_tokens,
            "stop": sampling.stop,
            "seed": int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) >> 1,
            "detokenize": bool(sampling.stop),
        }

    def _own_arguments(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.concurrency,
            "tensor_parallel_size": self.tensor_parallel_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "distributed_executor_backend": self.distributed_executor_backend,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
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

    def _serving(self) -> tuple[VLLMProcess, Transcripts]:
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
