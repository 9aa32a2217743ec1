"""Small models, texts and the Trainer of Transformers; and its loss written without the library."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.integrations.transformers import InputGradientTrainer

WORDS, LENGTH, N = 50, 7, 24
REPORTED = "module:bert.embeddings.word_embeddings"


def network(attention: str = "eager", dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16, num_labels=3,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, attn_implementation=attention,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def llama() -> nn.Module:
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16, num_labels=3,
        pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.LlamaForSequenceClassification(config)
    nn.init.normal_(model.get_input_embeddings().weight)  # RMSNorm's gradient is large where embeddings are near 0, and training diverges
    return model


def texts() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(1, WORDS, (N, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    mask[::3, 5:] = 0
    return [{"input_ids": row, "attention_mask": seen, "labels": row.sum() % 3} for row, seen in zip(ids, mask, strict=True)]


def criterion(wrt: str = REPORTED) -> ig.InputGradientLoss:
    return nn.CrossEntropyLoss() + 0.5 * ig.GradientNorm(of="loss", power=2, wrt=wrt)


def arguments(folder: Path, **settings: Any) -> Any:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "save_strategy": "no", "max_grad_norm": 0.0, **settings}
    return transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1, optim="sgd", optim_args="momentum=0.9", learning_rate=0.05,
        lr_scheduler_type="constant", per_device_eval_batch_size=10, data_seed=0, **settings,
    )  # fmt: skip


class InOrder(InputGradientTrainer):
    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer(model: nn.Module, folder: Path, loss: Any = None, **settings: Any) -> InOrder:
    return InOrder(model, arguments(folder, **settings), criterion=loss or criterion(), train_dataset=texts(), eval_dataset=texts())


def batches(size: int) -> list[tuple[dict[str, Tensor], Tensor]]:
    whole = {name: torch.stack([text[name] for text in texts()]) for name in ("input_ids", "attention_mask", "labels")}
    parts = [{name: value[start : start + size] for name, value in whole.items()} for start in range(0, N, size)]
    return [(part, part.pop("labels")) for part in parts]


def textbook(model: nn.Module, embedding: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Written without the library: cross entropy + 0.5 · mean of the squared norm of each sample's own gradient with respect to its embeddings."""
    seen: list[Tensor] = []
    handle = embedding.register_forward_hook(lambda _module, _args, output: seen.append(output))
    logits = model(**inputs).logits
    handle.remove()
    (embedded,) = seen
    own = nn.functional.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(own.sum(), embedded, create_graph=True)
    return own.mean() + 0.5 * gradient.flatten(1).square().sum(1).mean()
