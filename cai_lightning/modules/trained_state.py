"""What a module trains: taken out of it, looked for in a checkpoint, and written ready for `from_pretrained`.

state = gather(module)
write(policy, state, folder)
"""

from collections.abc import Iterable
from pathlib import Path

from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from cai_lightning.engines.fingerprint import save_fingerprint
from cai_lightning.errors import UserError
from cai_lightning.modules.policy import Policy


def gather(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, gathered from all processes where they are shared out."""
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    return {name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in trained.items()}


def check(module: nn.Module, found: Iterable[str], output: str) -> None:
    """Makes sure that all that is trained is in a checkpoint.

    Args:
        module: What is trained.
        found: The names in the checkpoint.
        output: What the trained parameters are, for the message.

    Raises:
        UserError: Some of it is missing.
    """
    expected = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    if missing := sorted(expected.difference(found)):
        raise UserError(f"the checkpoint lacks {len(missing)} tensors of the {output}, such as {missing[0]}.")


def write(policy: Policy, state: dict[str, Tensor], folder: Path) -> None:
    """Writes an adapter as a PEFT directory, with what its base is beside it; or the whole model.

    Args:
        policy: The model that is trained.
        state: Its trained parameters, by name.
        folder: Where it is written.
    """
    if not isinstance(policy, PeftModel):
        policy.save_pretrained(folder)
        return
    # Embeddings are never trained with an adapter here; looking for them would ask the Hub each time.
    policy.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
    save_fingerprint(policy.get_base_model().config, folder)
