"""Second calls of recipes whose text speaks of another way to use them. The pages show them, and the tests run them."""

from extensions import calls


def _of(data: str, code: str) -> str:
    return f"{calls.IMPORTS}\n{calls.DATA[data].lstrip()}\n{code.strip()}\n"


OWN_STEP = """
optimizer = torch.optim.Adam(model.parameters(), **ig.lazy_adam(16, lr=2e-3, betas=(0.0, 0.99)))
own_step = ig.InputGradientLoss(None, 16 * ig.recipes.r1())

# after each 16th ordinary step:
optimizer.zero_grad()
loss = own_step(model, inputs, target)
loss.backward()
optimizer.step()
"""
ONE_BATCH = """
criterion = ig.InputGradientLoss(ig.recipes.relativistic_pairing, 1.0 * ig.GradientNorm(power=2))
loss = criterion(model, torch.cat([inputs, target]))
loss.backward()
"""
OWN_LABELS = """
class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.score = nn.Embedding(10, 8), nn.Linear(16, 1)

    def forward(self, x, label):
        return self.score(torch.tanh(torch.cat([x, self.embedding(label)], 1)))


critic = Critic()
real, label = torch.randn(16, 8), torch.randint(10, (16,))
fake, fake_label = torch.randn(12, 8), torch.randint(10, (12,))  # another number of them

penalty = ig.InputGradientLoss(None, ig.recipes.r2(fake={"x": "fake", "label": "fake_label"}, wrt="x"))
loss = penalty(critic, {"x": real, "label": label}, {"fake": fake, "fake_label": fake_label})
loss.backward()
"""
SOME_OUTPUTS = """
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 3))  # u, v and p
walls = ig.Given(torch.rand(16, 2).round())

no_slip = ig.recipes.condition(value={"u": 0.0, "v": 0.0}, at=walls, names="xy", outputs="uvp")
criterion = ig.InputGradientLoss(None, no_slip)
loss = criterion(model, inputs, target)
loss.backward()
"""
AS_BASE_LOSS = """
interior, edges = inputs, torch.rand(16, 2).round()

criterion = "mse" + ig.recipes.poisson(source=1.0, names="xy", at=ig.Given(interior))
loss = criterion(model, edges, torch.zeros(16, 1))  # u = 0 on the edges
loss.backward()
"""
DISCRIMINATOR = """
teacher, discriminator = nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(discriminator.parameters())

# at every fifth step:
optimizer.zero_grad()
loss = ig.GradientDiscriminator(discriminator).loss(model, teacher, inputs, target)
loss.backward()
optimizer.step()
"""
TWO_OPTIMISERS = """
weights = nn.Parameter(torch.ones(64))  # one per point
criterion = ig.InputGradientLoss(None, ig.recipes.self_adaptive(ig.recipes.heat(diffusivity=0.1, names="xt"), weights=weights))
descent = torch.optim.Adam(model.parameters(), lr=1e-3)
ascent = torch.optim.Adam([weights], lr=0.005, maximize=True)

for step in range(3):
    descent.zero_grad()
    ascent.zero_grad()
    loss = criterion(model, inputs, target)
    loss.backward()
    descent.step()
    ascent.step()
"""
REPLAYED = """
criterion = nn.CrossEntropyLoss() + ig.recipes.free_adversarial(epsilon=8 / 255, bounds=(0, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for replay in range(4):  # the same batch, m = 4 times
    optimizer.zero_grad()
    loss = criterion(model, inputs, target)
    loss.backward()
    optimizer.step()
"""

FURTHER: dict[str, list[tuple[str, str]]] = {
    "lazy_r1": [("With an optimiser step of its own", _of("real", OWN_STEP))],
    "r2": [("Fake samples with labels of their own", f"{calls.IMPORTS}\n{OWN_LABELS.strip()}\n")],
    "r3gan": [("Real and fake samples in one batch, with the paper's base loss", _of("critic", ONE_BATCH))],
    "condition": [("For some outputs of a system", _of("plane", SOME_OUTPUTS)), ("As the base loss", _of("plane", AS_BASE_LOSS))],
    "igam": [("The discriminator's own step", _of("classes", DISCRIMINATOR))],
    "self_adaptive": [("A training loop with both optimisers", _of("points", TWO_OPTIMISERS))],
    "free_adversarial": [("A batch that is replayed", _of("classes", REPLAYED))],
}
"""Recipe -> titles and code."""
