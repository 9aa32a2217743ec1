"""Models of many kinds whose gradient is right: none of them may be refused or warned about at its first step."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

Made = tuple[nn.Module, Any]
"""A model with three outputs per sample, and its inputs: 12 samples."""
N = 12


class Of(nn.Module):
    """A function of (the module itself, its inputs), with the modules and parameters that it uses."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def flat(function: Callable[..., Tensor], **parts: Any) -> Made:
    """The function of eight features that makes sixteen, between two linear layers."""
    return Of(lambda m, x: m.o(function(m, m.i(x))), i=nn.Linear(8, 16), o=nn.Linear(16, 3), **parts), torch.randn(N, 8)


def layers(*modules: nn.Module) -> Made:
    return nn.Sequential(nn.Linear(8, 16), *modules, nn.Linear(16, 3)), torch.randn(N, 8)


def images(*modules: nn.Module) -> Made:
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), *modules, nn.Flatten(), nn.LazyLinear(3)), torch.randn(N, 2, 6, 6)


def recurrent(kind: type[nn.Module], last: int, **settings: Any) -> Made:
    return Of(lambda m, x: m.o(m.r(x)[0][:, -1]), r=kind(5, 8, batch_first=True, **settings), o=nn.Linear(last, 3)), torch.randn(N, 4, 5)


def cells(m: Any, x: Tensor) -> Tensor:
    h = c = x.new_zeros(len(x), 16)
    for _ in range(3):
        h, c = m.cell(x, (h, c))
    return h


def top_gate(_m: Any, h: Tensor) -> Tensor:
    values, indices = h.topk(4, -1)
    return torch.zeros_like(h).scatter(-1, indices, values.softmax(-1)) * h


def experts(m: Any, h: Tensor) -> Tensor:
    weight, chosen = m.gate(h).softmax(-1).max(-1)
    out = torch.zeros_like(h)
    for number, expert in enumerate(m.experts):
        rows = (chosen == number).nonzero().flatten()
        out = out.index_add(0, rows, expert(h[rows]) * weight[rows, None])
    return out


def stochastic_depth(m: Any, h: Tensor) -> Tensor:
    for block in m.blocks:
        if torch.rand(()).item() > 0.4:
            h = h + block(h)
    return h


def running_mean(m: Any, h: Tensor) -> Tensor:
    m.mean = 0.9 * m.mean + 0.1 * h.detach().mean(0)
    return (h - m.mean).tanh()


def written_mean(m: Any, h: Tensor) -> Tensor:
    with torch.no_grad():
        m.mean.mul_(0.9).add_(h.abs().mean(0), alpha=0.1)
    return (h / m.mean).tanh()


def with_buffer(function: Callable[..., Tensor]) -> Made:
    model, x = flat(function)
    model.register_buffer("mean", torch.ones(16))
    return model, x


def equilibrium(m: Any, h: Tensor) -> Tensor:
    with torch.no_grad():
        z = torch.zeros_like(h)
        for _ in range(30):
            z = torch.tanh(m.w(z) * 0.3 + h)
    return torch.tanh(m.w(z) * 0.3 + h)


def no_grad_scale(m: Any, h: Tensor) -> Tensor:
    with torch.no_grad():
        size = m.w.norm(dim=0)
    return (h @ m.w / size).tanh()


def spectral_filter(m: Any, h: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(h) * torch.view_as_complex(m.w), n=16).tanh()


def inner_gradient(m: Any, h: Tensor) -> Tensor:
    with torch.enable_grad():
        z = h if h.requires_grad else h.requires_grad_()
        return torch.autograd.grad(m.net(z).sum(), z, create_graph=True)[0]


def causal(m: Any, x: Tensor) -> Tensor:
    return m.o(m.t(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x), is_causal=True)[:, -1])


def encoder(norm_first: bool) -> Made:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=norm_first)
    return Of(causal, t=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), o=nn.Linear(16, 3)), torch.randn(N, 4, 16)


def straight_through(_m: Any, h: Tensor) -> Tensor:
    return (h + (h.round() - h).detach()).tanh()


def tied() -> Made:
    shared = nn.Linear(16, 16)
    return layers(shared, nn.Tanh(), shared, nn.Tanh(), shared)


def tied_storage() -> Made:
    one, other = nn.Linear(16, 16), nn.Linear(16, 16)
    other.weight.data = one.weight.data
    return layers(one, nn.Tanh(), other, nn.Tanh())


def zero_last() -> Made:
    model, x = layers(nn.SiLU())
    nn.init.zeros_(model[-1].weight)
    return model, x


def frozen() -> Made:
    model, x = layers(nn.ReLU(), nn.Linear(16, 16), nn.Tanh())
    model[0].requires_grad_(False)
    return model, x


def with_tokens(embedding: nn.Module, *shape: int) -> Made:
    return Of(lambda m, x, i: m.o((m.l(x) * m.e(i)).tanh()), l=nn.Linear(8, 16), e=embedding, o=nn.Linear(16, 3)), (torch.randn(N, 8), torch.randint(20, shape))


def parameter(*shape: int, dtype: torch.dtype | None = None) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, dtype=dtype))


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 16), nn.SiLU())


ZOO: dict[str, Callable[[], Made]] = {
    "rnn": lambda: recurrent(nn.RNN, 8),
    "lstm, two directions, dropout": lambda: recurrent(nn.LSTM, 16, num_layers=2, bidirectional=True, dropout=0.3),
    "gru": lambda: recurrent(nn.GRU, 8),
    "lstm cell": lambda: flat(cells, cell=nn.LSTMCell(16, 16)),
    "dropout everywhere": lambda: layers(nn.Dropout(0.5), nn.ReLU(), nn.AlphaDropout(0.2), nn.Linear(16, 16), nn.ELU(), nn.Dropout(0.8)),
    "random leaks": lambda: images(nn.RReLU(), nn.Dropout2d(0.3), nn.Conv2d(8, 8, 3)),
    "batch norm": lambda: images(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.ReLU()),
    "batch norm without statistics": lambda: layers(nn.BatchNorm1d(16, track_running_stats=False, affine=False), nn.GELU()),
    "instance and local norm": lambda: images(nn.InstanceNorm2d(8, affine=True), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.LocalResponseNorm(2)),
    "weight norm": lambda: layers(nn.Tanh(), parametrizations.weight_norm(nn.Linear(16, 16)), nn.Tanh()),
    "spectral norm": lambda: layers(nn.LeakyReLU(0.2), parametrizations.spectral_norm(nn.Linear(16, 16)), nn.LeakyReLU(0.2)),
    "orthogonal": lambda: layers(nn.Tanh(), parametrizations.orthogonal(nn.Linear(16, 16)), nn.Tanh()),
    "orthogonal by Cayley": lambda: layers(nn.Tanh(), parametrizations.orthogonal(nn.Linear(16, 16), orthogonal_map="cayley"), nn.Tanh()),
    "tied": tied,
    "tied storage": tied_storage,
    "max-pools": lambda: images(nn.MaxPool2d(2), nn.ReLU6(), nn.Conv2d(8, 8, 2), nn.AdaptiveMaxPool2d(1)),
    "channels last": lambda: images(nn.BatchNorm2d(8).to(memory_format=torch.channels_last), nn.ReLU()),
    "top-k gate": lambda: flat(top_gate),
    "experts": lambda: flat(experts, gate=nn.Linear(16, 4), experts=nn.ModuleList(block() for _ in range(4))),
    "stochastic depth": lambda: flat(stochastic_depth, blocks=nn.ModuleList(block() for _ in range(4))),
    "noise": lambda: flat(lambda _m, h: h.chunk(2, -1)[0].repeat(1, 2).exp() * torch.randn_like(h)),
    "gumbel": lambda: flat(lambda _m, h: F.gumbel_softmax(h)),
    "embedding bag": lambda: with_tokens(nn.EmbeddingBag(20, 16), N, 4),
    "sparse embedding": lambda: with_tokens(nn.Embedding(20, 16, sparse=True), N),
    "embedding of bounded norm": lambda: with_tokens(nn.Embedding(20, 16, max_norm=1.0), N),
    "complex filter": lambda: flat(spectral_filter, w=parameter(9, 2)),
    "complex parameter": lambda: flat(lambda m, h: (torch.complex(h, h.tanh()) * m.w).abs(), w=parameter(16, dtype=torch.cfloat)),
    "equilibrium": lambda: flat(equilibrium, w=nn.Linear(16, 16)),
    "checkpointed": lambda: flat(lambda m, h: checkpoint(m.b, h, use_reentrant=False), b=nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.2))),
    "checkpointed ReLU": lambda: flat(lambda m, h: checkpoint(m.b, h, use_reentrant=False), b=nn.Sequential(nn.Linear(16, 16), nn.ReLU())),
    "lazy": lambda: (nn.Sequential(nn.LazyLinear(16), nn.SiLU(), nn.LazyBatchNorm1d(), nn.LazyLinear(3)), torch.randn(N, 8)),
    "running mean": lambda: with_buffer(running_mean),
    "mean written in place": lambda: with_buffer(written_mean),
    "parameter without gradients": lambda: flat(no_grad_scale, w=parameter(16, 16)),
    "detached parameter": lambda: flat(lambda m, h: (h @ m.w / m.w.detach().norm()).tanh(), w=parameter(16, 16)),
    "data of a parameter": lambda: flat(lambda m, h: (h @ m.w / m.w.data.abs().max()).tanh(), w=parameter(16, 16)),
    "detached norm": lambda: flat(lambda _m, h: (h / h.detach().norm(dim=-1, keepdim=True)).tanh()),
    "number of a tensor": lambda: flat(lambda _m, h: (h / h.abs().max().item()).tanh()),
    "zero last layer": zero_last,
    "frozen part": frozen,
    "low-rank adapter": lambda: flat(lambda m, h: h + h @ m.a @ m.b, a=parameter(16, 2), b=nn.Parameter(0.1 * torch.randn(2, 16))),
    "attention, norm first": lambda: encoder(True),
    "attention, norm last": lambda: encoder(False),
    "kinks": lambda: layers(nn.PReLU(16), nn.Linear(16, 32), nn.GLU(), nn.Hardswish(), nn.Linear(16, 16), nn.Hardtanh()),
    "maxout, clamp and sort": lambda: flat(lambda _m, h: h.clamp(-0.5, 0.5).sort(-1).values.abs().view(-1, 4, 4).max(-1).values.repeat(1, 4)),
    "masks": lambda: flat(lambda _m, h: h * (h > 0).to(h) + h.square() * (h < -0.5)),
    "where": lambda: flat(lambda _m, h: torch.where(h > 0, h * h, -h.exp()) * h.sign()),
    "sine": lambda: flat(lambda m, h: (10 * m.w(h)).sin(), w=nn.Linear(16, 16)),
    "gradient inside": lambda: flat(inner_gradient, net=nn.Sequential(nn.Linear(16, 16), nn.Softplus(), nn.Linear(16, 1))),
    "straight through, by detach": lambda: flat(straight_through),
    "temperature": lambda: flat(lambda m, h: h.relu() * m.t.exp(), t=nn.Parameter(torch.zeros(()))),
    "copied": lambda: copy.deepcopy(layers(nn.BatchNorm1d(16), nn.ReLU())),
    "unused": lambda: flat(lambda _m, h: h.tanh(), spare=nn.Linear(5, 5)),
    "solve": lambda: flat(lambda _m, h: torch.linalg.solve(h.view(-1, 4, 4) @ h.view(-1, 4, 4).mT + torch.eye(4).to(h), h.view(-1, 4, 4)).flatten(1)),
}
