"""A sharded model (FSDP2) with a penalty on its input gradient: ``torchrun --nproc-per-node 2 examples/sharded_training.py``."""

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import inputgrad as ig


def main() -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # the same weights and the same order everywhere
    model = nn.Sequential(nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 10))
    mesh = init_device_mesh("cpu", (ranks,))
    for part in (*model[::2], model):
        fully_shard(part, mesh=mesh)
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels).float() / 16, torch.tensor(digits)
    train, test = torch.randperm(len(images)).split([1440, len(images) - 1440])

    # "reverse_over_forward" leaves the model sharded; "double_backward" is faster, and puts the parameters together for each step
    criterion = ig.InputGradientLoss("cross_entropy", 0.1 * ig.GradientNorm(of="loss", power=2), engine="double_backward")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for epoch in range(8):
        for batch in train[torch.randperm(len(train))].split(96):
            mine = batch.chunk(ranks)[rank]
            optimizer.zero_grad()
            criterion(model, images[mine], labels[mine]).backward()
            optimizer.step()
        with torch.no_grad():
            step = criterion.evaluate(model, images[test], labels[test])
        accuracy = (step.output.argmax(1) == labels[test]).float().mean()
        if rank == 0:
            print(f"epoch {epoch}: held-out accuracy {accuracy:.3f}, mean squared input gradient {step.parts['gradient_norm']:.4f}")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
