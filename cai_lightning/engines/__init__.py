"""Engines: ways of serving a model, behind one contract."""

from cai_lightning.engines.base import Choice as Choice
from cai_lightning.engines.base import Engine as Engine
from cai_lightning.engines.base import Reply as Reply
from cai_lightning.engines.base import Sampling as Sampling
from cai_lightning.engines.openai import OpenAIEngine as OpenAIEngine
from cai_lightning.engines.scripted import RecordedEngine as RecordedEngine
from cai_lightning.engines.scripted import ScriptedEngine as ScriptedEngine
from cai_lightning.engines.transformers import TransformersEngine as TransformersEngine
from cai_lightning.engines.vllm import VLLMEngine as VLLMEngine
