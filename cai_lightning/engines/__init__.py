"""Engines: ways of serving a model, behind one contract."""

from cai_lightning.engines.base import Choice, Engine, Reply, Sampling
from cai_lightning.engines.openai import OpenAIEngine
from cai_lightning.engines.scripted import RecordedEngine, ScriptedEngine
from cai_lightning.engines.transformers import TransformersEngine
from cai_lightning.engines.vllm import VLLMEngine

__all__ = [
    "Choice",
    "Engine",
    "OpenAIEngine",
    "RecordedEngine",
    "Reply",
    "Sampling",
    "ScriptedEngine",
    "TransformersEngine",
    "VLLMEngine",
]
