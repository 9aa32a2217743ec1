"""Agreement under tensor parallelism: the processes that split one model must see one batch and draw the same random numbers. Looked at once per model.

Where they do not, nothing raises: each process computes its part of another sample's gradient.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import wide
from inputgrad.distributed.fsdp import tensor_parallel_mesh
from inputgrad.distributed.joined import is_joined
from inputgrad.errors import warn
from inputgrad.memory import memory
from inputgrad.torch_internals import pytree
from inputgrad.variables import ModelInputs


@contextmanager
def check_agreement(model: nn.Module, inputs: ModelInputs, target: Any) -> Iterator[None]:
    """Around a step: one warning where the processes that split the model have other batches, one where they drew from other random states."""
    mesh = _unasked(model)
    if mesh is None or mesh.size() == 1:
        yield
        return
    before = _state(mesh.device_type)
    same_batch, same_state = (_everywhere(value, mesh) for value in (_digest(inputs, target), before))
    yield
    if not same_batch:
        warn(
            f"the {mesh.size()} processes that split {type(model).__name__} between them (tensor parallelism) see different batches, so the gradient is of "
            "no batch at all. Hand the same batch to all processes of a group, and share out the batches between the groups"
        )
    if not same_state and _state(mesh.device_type) != before:
        warn(
            f"random numbers were drawn in this step, and the {mesh.size()} processes that split {type(model).__name__} between them (tensor parallelism) "
            "draw different ones. Random heads, places and attacks must be the same on all of them: seed the processes of a group alike. (Dropout between "
            "the split layers alone may differ.)"
        )


def _unasked(model: nn.Module) -> Any:
    """The mesh to compare over: at the first step of a model among several processes, where they split it."""
    if not is_joined() or not memory(model).once("agreement of processes"):
        return None
    return tensor_parallel_mesh(model)


def _state(kind: str) -> int:
    """Of the generators of the processor and of this kind of device."""
    states = [torch.get_rng_state(), *([] if kind == "cpu" else [torch.get_device_module(kind).get_rng_state()])]
    return zlib.crc32(b"".join(bytes(state.tolist()) for state in states))


def _digest(inputs: ModelInputs, target: Any) -> int:
    leaves = [*(tensor for _, tensor in inputs.tensors()), *pytree.leaves(target)]
    tensors = [leaf for leaf in leaves if type(leaf) in (Tensor, nn.Parameter) and leaf.layout is torch.strided and not leaf.is_complex()]
    with torch.no_grad():
        values = [wide(tensor.detach()).nan_to_num().flatten() for tensor in tensors]
        sums = [(flat @ torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device)).item() for flat in values]  # in another order another sum
    return zlib.crc32(repr(sums).encode())


def _everywhere(value: int, mesh: Any) -> bool:
    """Whether it is the same on all processes of the mesh."""
    both = torch.tensor([value, -value], dtype=torch.int64, device=mesh.device_type)
    for group in mesh.get_all_groups():
        torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX, group=group)
    return int(both[0]) == -int(both[1])
