"""Nothing that was finished is lost, whichever write fails and however: a sample here, every write with ``make study``."""

import shutil

import pytest
import torch

from tests.study.write_faults import FAULTS, Disk, survived, trained

OPERATIONS = 58
"""File operations of the command below."""
CONFIG = """\
data: {csv: {path: DATA, target: kind, task: classification}}
model: {mlp: {hidden: [4]}}
loss: cross_entropy + 0.1*gradient_norm(of=loss)
epochs: 2
batch_size: 16
threads: 1
measures: {epsilons: []}
"""


def prepare(folder):
    """Two configs; a folder with the first of them finished; the same with both finished; the operations of the second."""
    (folder / "t.csv").write_text("a,b,kind\n" + "".join(f"{i % 5},{i * i % 7},{i % 2}\n" for i in range(24)))
    configs = [folder / "finished.yaml", folder / "new.yaml"]
    for config in configs:
        config.write_text(CONFIG.replace("DATA", str(folder / "t.csv")))
    assert trained(configs[:1], folder / "before", Disk(folder / "before"))[0] == 0
    shutil.copytree(folder / "before", folder / "whole")
    disk = Disk(folder / "whole")
    assert trained(configs, folder / "whole", disk)[0] == 0
    return configs, folder / "before", folder / "whole", disk


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("faults"))


def test_every_operation_is_seen(prepared):
    *_, disk = prepared
    assert disk.count == OPERATIONS, disk.done


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        pytest.param(at, fault, marks=() if (at + 15 * number) % 31 == 3 else pytest.mark.study)
        for at in range(OPERATIONS)
        for number, fault in enumerate(FAULTS)
    ],
)
def test_nothing_is_lost(prepared, at, fault, tmp_path):
    configs, before, whole, _ = prepared
    threads = torch.get_num_threads()
    assert survived(configs, before, whole, tmp_path, at, fault) == []
    torch.set_num_threads(threads)
