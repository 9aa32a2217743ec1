"""Transformers: the Trainer with a term on the embeddings of a small BERT that starts from random weights; nothing is downloaded.

Run: pip install transformers accelerate, then python examples/transformers_training.py
"""

import tempfile

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments, set_seed

import inputgrad as ig
from inputgrad.integrations.transformers import InputGradientTrainer, embeddings_of


def texts(count):
    """Numbers for words, of two topics that share some."""
    labels = torch.randint(2, (count,))
    ids = torch.randint(1, 60, (count, 12)) + 40 * labels[:, None]
    return [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]


if __name__ == "__main__":
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=12, initializer_range=0.1
        )
    )
    criterion = nn.CrossEntropyLoss() + 0.02 * ig.GradientNorm(of="loss", wrt=embeddings_of(model))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=8, learning_rate=3e-3, per_device_train_batch_size=32, use_cpu=True, report_to="none", save_strategy="no", logging_steps=10
        )
        trainer = InputGradientTrainer(model, arguments, criterion=criterion, train_dataset=texts(512), eval_dataset=texts(256))
        trainer.train()
        print({name: round(value, 4) for name, value in trainer.evaluate().items() if "loss" in name})
