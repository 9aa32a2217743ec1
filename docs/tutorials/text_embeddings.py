r"""
Token embeddings of a Hugging Face model
========================================

**You train a transformer against moved embeddings.** Below: an attack whose strength depends on the
batch, the same on each sentence by itself, and which words the model looks at.
"""

# %%
# The data
# --------
# Sentences whose label is reversed by the word "not". The model is a tiny BERT with random
# weights; nothing is downloaded.

import copy
import random

import matplotlib.pyplot as plt
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import inputgrad as ig

NOUNS = ["film", "book", "meal", "room", "concert", "hotel", "story", "song"]
GOOD = ["good", "great", "lovely", "fine", "superb"]
BAD = ["bad", "awful", "dull", "poor", "terrible"]
FILLERS = ["very", "quite", "rather", "so", "really"]
WORDS = ["[PAD]", "the", "was", "not", *NOUNS, *GOOD, *BAD, *FILLERS]
NUMBER = {word: number for number, word in enumerate(WORDS)}


def sentence(draw):
    negated, good = draw.random() < 0.5, draw.random() < 0.5
    words = ["the", draw.choice(NOUNS), "was", *["not"] * negated]
    words += draw.sample(FILLERS, draw.randint(0, 2))
    words.append(draw.choice(GOOD if good else BAD))
    return words, int(good != negated)


def make(count, seed):
    draw = random.Random(seed)
    texts, labels = zip(*(sentence(draw) for _ in range(count)), strict=True)
    ids = torch.zeros(count, 8, dtype=torch.long)
    for row, words in zip(ids, texts, strict=True):
        row[: len(words)] = torch.tensor([NUMBER[word] for word in words])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.tensor(labels), texts


inputs, labels, _ = make(256, seed=0)
test_inputs, test_labels, test_texts = make(500, seed=1)


def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=8,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


# %%
# Your own code
# -------------
# The popular "FGM": after ``loss.backward()``, move the embedding **table** along its gradient,
# run the model again, and move the table back.


def move_table(model, inputs, labels, epsilon=1.0):
    """What FGM adds to the table."""
    table = model.bert.embeddings.word_embeddings.weight
    loss = nn.functional.cross_entropy(model(**inputs).logits, labels)
    (gradient,) = torch.autograd.grad(loss, table)
    return epsilon * gradient / gradient.norm()


# %%
# The trap
# --------
# All sentences of the batch share one step of the table. A word in both a good and a bad sentence
# is pulled both ways, and the length of the step is divided among all words. So the larger the
# batch, the weaker the attack. This is how much it raises the mean loss of the same 64 sentences,
# for the same ``epsilon``:


def losses(model, rows):
    with torch.no_grad():
        logits = model(**{key: value[rows] for key, value in inputs.items()}).logits
    return nn.functional.cross_entropy(logits, labels[rows], reduction="none")


model = bert()
table = model.bert.embeddings.word_embeddings.weight
for size in (1, 8, 64):
    rises = []
    for rows in torch.arange(64).split(size):
        step = move_table(model, {key: value[rows] for key, value in inputs.items()}, labels[rows])
        before = losses(model, rows)
        table.data += step
        rises.append(losses(model, rows) - before)
        table.data -= step
    print(f"batch of {size:2}: the loss rises by {torch.cat(rises).mean():.3f}")

# %%
# The same in this library
# ------------------------
# ``wrt`` names the module whose output is moved: the embeddings of each sentence. Every sentence
# moves by 1, whatever the batch size.

EMBEDDING = "module:bert.embeddings.word_embeddings"
one_step = ig.PGD(1.0, steps=1, step_size=1.0, norm="l2", start="none", wrt=EMBEDDING)
fgm = nn.CrossEntropyLoss() + 1.0 * ig.Adversarial(one_step)

with torch.no_grad():
    few = {key: value[:64] for key, value in inputs.items()}
    rise = (
        fgm.evaluate(model, few, labels[:64]).parts["adversarial"] - losses(model, range(64)).mean()
    )
print(f"batch of 64: the loss rises by {rise:.3f}")

# %%
# Pass the inputs as the tokenizer returns them. We first train a model, then fine-tune it with
# each loss. Besides FGM, FreeLB takes several steps, and ``GradientNorm`` needs no attack at all:

small = ig.PGD(0.3, steps=1, step_size=0.3, norm="l2", start="none", wrt=EMBEDDING)
cross_entropy = nn.CrossEntropyLoss()
runs = {
    "plain": ig.InputGradientLoss(cross_entropy),
    "FGM": cross_entropy + 1.0 * ig.Adversarial(small),
    "FreeLB": cross_entropy
    + ig.recipes.free_lb(wrt=EMBEDDING, epsilon=0.3, steps=3, step_size=0.2),
    "gradient norm": cross_entropy + 1.0 * ig.GradientNorm(of="loss", wrt=EMBEDDING),
}


def train(criterion, model, epochs):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            batch = {key: value[rows] for key, value in inputs.items()}
            criterion(model, batch, labels[rows]).backward()
            optimizer.step()
    return model.eval()


pretrained = train(runs["plain"], bert(), epochs=8)
models = {
    name: train(criterion, copy.deepcopy(pretrained).train(), epochs=6)
    for name, criterion in runs.items()
}

# %%
# Test each under an attack on the embeddings: the share of held-out sentences that are still
# classified correctly when each moves by ``size``, in six steps. The attack is written with plain
# torch.


def accuracy_under(model, size, steps=6):
    embedded = model.bert.embeddings.word_embeddings(test_inputs["input_ids"]).detach()
    mask, moved = test_inputs["attention_mask"], embedded.clone()
    for _ in range(steps * (size > 0)):
        moved.requires_grad_()
        logits = model(inputs_embeds=moved, attention_mask=mask).logits
        loss = nn.functional.cross_entropy(logits, test_labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        unit = gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
        away = moved.detach() + size / 4 * unit - embedded
        length = away.flatten(1).norm(dim=1)[:, None, None]
        moved = embedded + away * (size / length.clamp(min=1e-12)).clamp(max=1)
    with torch.no_grad():
        logits = model(inputs_embeds=moved, attention_mask=mask).logits
    return (logits.argmax(1) == test_labels).float().mean().item()


sizes = (0, 0.2, 0.4, 0.6, 0.8)
curves = {name: [accuracy_under(model, size) for size in sizes] for name, model in models.items()}

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, curve in curves.items():
    axis.plot(sizes, curve, marker="o", markersize=3, label=name)
axis.set(xlabel="how far each sentence moves", ylabel="held-out accuracy")
axis.legend()

# %%
# Which words does it look at?
# ----------------------------
# The length of the gradient at each token:

texts = test_texts[:3]
some = {key: value[:3] for key, value in test_inputs.items()}
found = ig.gradient(models["FGM"], some, of="label", target=test_labels[:3], wrt=EMBEDDING)
lengths = found.detach().norm(dim=2)

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.6), layout="constrained")
for axis, words, length in zip(axes, texts, lengths, strict=True):
    axis.barh(range(len(words)), length[: len(words)])
    axis.set(yticks=range(len(words)), yticklabels=words, xticks=[])
    axis.invert_yaxis()

# %%
# Variants
# --------
# ``ig.recipes.smart`` and ``ig.recipes.r3f`` keep the prediction constant instead of the loss.
# ``inputgrad.integrations.transformers`` has a ``Trainer`` that takes such a criterion, and
# ``embeddings_of(model)``, which finds the name of the module.
