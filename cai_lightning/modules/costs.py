"""What a step of training costs, counted from the shapes of the layers: floating-point operations and memory.

costs = count_costs(policy)
costs.flops(tokens=4096, supervised=3000) / seconds / matrix_rate  # model FLOPs utilization
"""

from dataclasses import dataclass

import torch
from torch import nn

from cai_lightning.models.policy import Policy, base_of, head_of
from cai_lightning.modules.losses import CHUNK_BYTES

HEAP = 1.4
"""How many times their size activations take on a CPU, measured with SmolLM2 in float32 and bfloat16: the heap does not
give back what is freed between those that are kept."""


@dataclass(frozen=True)
class Costs:
    """Sizes of a model in training.

    Args:
        parameters: All parameters.
        trained: Those that are trained.
        bytes_held: Bytes of the parameters.
        exact: Weights of linear layers that are held in 32 bits.
        linear: Multiplications of one token in the linear layers, the head left out.
        linear_trained: Those of them with a weight that is trained.
        head: Multiplications of one token in the head.
        head_trained: Those of them with a weight that is trained.
        width: Numbers that go into and come out of the linear layers for one token.
        layers: Number of transformer layers.
        hidden: Size of the hidden state.
    """

    parameters: int
    trained: int
    bytes_held: int
    exact: int
    linear: int
    linear_trained: int
    head: int
    head_trained: int
    width: int
    layers: int
    hidden: int

    def flops(self, tokens: int, supervised: int) -> float:
        """Operations of forward and backward: 4 a multiplication (forward, and back to the inputs), 2 more where the
        weight is trained. Attention scores and what gradient checkpointing repeats are not counted.

        Args:
            tokens: Tokens of the batch.
            supervised: Those that are learned, which alone go through the head.
        """
        body = tokens * (4 * self.linear + 2 * self.linear_trained)
        return float(body + supervised * (4 * self.head + 2 * self.head_trained))

    def state_bytes(self) -> int:
        """Bytes of gradients and of AdamW's two moments, in float32."""
        return 12 * self.trained

    def activation_bytes(self, tokens: int, bytes_each: int, checkpointing: bool) -> int:
        """About how many bytes the activations of a batch take.

        Args:
            tokens: Tokens of the batch.
            bytes_each: Bytes of a number: 2 in bfloat16.
            checkpointing: Whether only the inputs of the layers are kept, and one layer at a time is computed again.
        """
        kept = self.layers * self.hidden + self.width // self.layers if checkpointing else self.width
        return tokens * bytes_each * kept

    def copied_bytes(self, bytes_each: int) -> int:
        """Bytes of the copies that mixed precision makes of 32-bit weights, and keeps from forward to backward."""
        return 2 * self.exact if bytes_each == 2 else 0

    def statement(self, tokens: int, bytes_each: int, checkpointing: bool, process: int | None = None) -> str:
        """Two lines for a person: what is trained, and about how much memory that takes on each device.

        Args:
            tokens: Tokens of the largest batch.
            bytes_each: Bytes of a number of its activations.
            checkpointing: Whether they are computed twice.
            process: On a CPU, the bytes that the process takes before the first step; None on another device.
        """
        activations = self.activation_bytes(tokens, bytes_each, checkpointing)
        parts = {
            "weights": self.bytes_held,
            "copies of them in 16 bits": self.copied_bytes(bytes_each),
            "gradients and optimizer": self.state_bytes(),
            f"activations of up to {tokens:,} tokens": round(activations * (1 if process is None else HEAP)),
            "logits": 2 * CHUNK_BYTES,
            "the program": max(0, (process or 0) - self.bytes_held),
        }
        listed = ", ".join(f"{size / 1e9:.2f} {name}" for name, size in parts.items() if size)
        return (
            f"{self.parameters / 1e6:,.1f} M parameters, {self.trained / 1e6:,.2f} M of them trained\n"
            f"memory: about {sum(parts.values()) / 1e9:.1f} GB ({listed})"
        )


def count_costs(policy: Policy) -> Costs:
    """Counts what stands in `Costs`."""
    base, head = base_of(policy), head_of(policy)
    config = base.config.get_text_config(decoder=True)
    body = [layer for layer in base.modules() if isinstance(layer, nn.Linear) and layer is not head]
    sizes = [layer.in_features * layer.out_features for layer in body]
    parameters = list(policy.parameters())
    head_size = head.in_features * head.out_features
    return Costs(
        parameters=sum(sizes) + sum(p.numel() for p in parameters) - sum(layer.weight.numel() for layer in body),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        bytes_held=sum(p.numel() * p.element_size() for p in parameters),
        exact=sum(layer.weight.numel() for layer in (*body, head) if layer.weight.dtype == torch.float32),
        linear=sum(sizes),
        linear_trained=sum(size for size, layer in zip(sizes, body, strict=True) if layer.weight.requires_grad),
        head=head_size,
        head_trained=head_size if head.weight.requires_grad else 0,
        width=sum(layer.in_features + layer.out_features for layer in body),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
    )
