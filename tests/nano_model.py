"""A nano pipeline small enough for tests: every part random, except the tokenizer."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from cotir.autoencoder import PatchAutoencoder
from cotir.loading import NANO_FOLDER
from cotir.nano import CoTNanoTransformer2DModel
from cotir.pipeline import CoTIRPipeline

TEXT_WIDTH = 32


def tiny_pipeline(seed: int = 0, **shape: Any) -> CoTIRPipeline:
    """A pipeline that changes a picture visibly, but not beyond recognition; its transformer may have another shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(NANO_FOLDER / "tokenizer")
        encoder = BertModel(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                num_hidden_layers=1,
                num_attention_heads=1,
                intermediate_size=TEXT_WIDTH,
            )
        )
        transformer = CoTNanoTransformer2DModel(
            width=8,
            blocks=(1, 1, 1),
            num_single_layers=1,
            num_attention_heads=1,
            joint_attention_dim=TEXT_WIDTH,
            cot_depth=1,
            **shape,
        )
        torch.nn.init.normal_(transformer.exit.weight, std=0.05)
    return CoTIRPipeline(
        transformer=transformer.eval(), vae=PatchAutoencoder(), text_encoder=encoder.eval(), tokenizer=tokenizer
    )


def write_tiny_pipeline(folder: Path, **shape: Any) -> Path:
    """Save it as a folder that ``--model`` and ``from_pretrained`` take."""
    tiny_pipeline(**shape).save_pretrained(folder)
    return folder
