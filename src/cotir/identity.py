"""Names for what encoders compute: two encoders of one name give the same embeddings or latents."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cotir.backbones import Backbone
from cotir.errors import ConfigError

_PROBES = 64  # values of each weight that an identity reads, spread over the tensor
_PASSING = {"transformers_version", "architectures", "dtype", "torch_dtype"}  # settings that saving changes


def text_identity(backbone: Backbone, components: Mapping[str, Any]) -> str:
    """A name for what text embeddings depend on: the backbone's text length, and a pipeline's tokenizers and encoders.

    Encoders count by class, configuration and a few values of every weight, so that a fine-tune of any layer shows.

    Raises:
        ConfigError: the weights are not in memory (sequential offload).
    """
    names = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
    parts = [components[name] for name in names if components.get(name) is not None]
    return _identity(f"text {backbone.name} {backbone.text_length}", parts)


def latent_identity(vae: torch.nn.Module) -> str:
    """As :func:`text_identity`, for latents: the autoencoder's class, configuration, weights and statistics."""
    return _identity("latent", [vae])


def _identity(head: str, parts: Sequence[Any]) -> str:
    facts = [_tokenizer(part) if isinstance(part, PreTrainedTokenizerBase) else _model(part) for part in parts]
    classes = "+".join(type(part).__name__ for part in parts)
    return f"{head} {classes} {hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()}"


def _tokenizer(part: Any) -> list[Any]:
    rules = json.loads(part.backend_tokenizer.to_str()) if part.is_fast else {"vocabulary": part.get_vocab()}
    rules |= {"truncation": None, "padding": None}  # set anew by every call, to the backbone's text length
    return [rules, part.special_tokens_map, part.chat_template, part.padding_side, part.truncation_side]


def _model(part: Any) -> list[Any]:
    probes = {}
    for name, tensor in part.state_dict().items():
        if tensor.is_meta:
            raise ConfigError(f"{name} of {type(part).__name__} is not in memory; take the identity before offloading")
        probes[name] = tensor.reshape(-1)[:: max(1, tensor.numel() // _PROBES)]
    config = part.config if isinstance(part.config, Mapping) else part.config.to_dict()
    lasting = {name: value for name, value in config.items() if name not in _PASSING and not name.startswith("_")}
    return [lasting, sha256(probes)]


def stream(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Everything that makes tensors what they are: names, types, shapes and bytes."""
    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode()
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and bytes."""
    return hashlib.sha256(b"".join(stream(tensors))).hexdigest()
