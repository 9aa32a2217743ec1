"""transformers: every base model whose configuration can be made tiny and that takes embeddings or pixels."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from tests.architectures.base import Architecture, Made

SIZES = {
    16: "hidden_size d_model n_embd dim embed_dim hidden_dim embedding_size width model_dim emb_dim image_size",
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers num_decoder_layers depth num_attention_heads n_head "
    "n_heads num_heads encoder_attention_heads decoder_attention_heads num_key_value_heads num_experts_per_tok",
    24: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff n_inner ffn_hidden_size dim_feedforward moe_intermediate_size "
    "shared_expert_intermediate_size",
    8: "head_dim chunk_size mamba_chunk_size",
    4: "patch_size num_experts num_local_experts n_routed_experts",
    40: "vocab_size",
}
"""What a configuration's entries of these names are set to, where they are larger."""
LARGEST = {name: size for size, names in SIZES.items() for name in names.split()}
PARAMETERS = 300_000


def tiny(config: Any) -> Any:
    for name, entry in list(vars(config).items()):
        if isinstance(entry, transformers.PretrainedConfig):
            tiny(entry)
        elif isinstance(entry, int) and not isinstance(entry, bool):
            largest = 1 if name.endswith("_token_id") else LARGEST.get(name, entry)
            if entry > largest:
                setattr(config, name, largest)
    return config


def make(config_class: Any) -> Made:
    model_class = model_class_of(config_class)
    config = tiny(config_class())
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in model_class(config).parameters())
    if size > PARAMETERS:
        raise ValueError("too large, when its configuration is made tiny by the names of its entries")
    model: nn.Module = model_class(config).double()
    return model, _inputs(model, config)


def _inputs(model: Any, config: Any) -> dict[str, Any]:
    names = inspect.signature(model.forward).parameters
    if _key(model) == "pixel_values":
        size = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        return {"pixel_values": torch.randn(2, config.num_channels, size, size, dtype=torch.float64)}
    embeddings = torch.randn(2, 5, model.get_input_embeddings().weight.shape[-1], dtype=torch.float64)
    inputs = {"inputs_embeds": embeddings}
    if "decoder_inputs_embeds" in names:
        inputs["decoder_inputs_embeds"] = torch.randn_like(embeddings)
    return inputs | ({"use_cache": False} if "use_cache" in names else {})


def _key(model: Any) -> str:
    return "inputs_embeds" if "inputs_embeds" in inspect.signature(model.forward).parameters else "pixel_values"


def key_of(config_class: Any) -> str:
    """The name of the input; where the model cannot be had, any, for making it will say why."""
    try:
        return _key(model_class_of(config_class))
    except (ImportError, ValueError):
        return "inputs_embeds"


def model_class_of(config_class: Any) -> Any:
    classes = MODEL_MAPPING[config_class]
    return classes[0] if isinstance(classes, (tuple, list)) else classes


def first_tensor(returned: Any) -> torch.Tensor:
    output: torch.Tensor = returned[0]
    return output


def architectures() -> Iterator[Architecture]:
    transformers.logging.set_verbosity_error()
    for config_class in MODEL_MAPPING:
        name = config_class.__name__.removesuffix("Config")
        yield Architecture("transformers", name, lambda chosen=config_class: make(chosen), key_of(config_class), first_tensor)
