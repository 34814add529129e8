"""Text encoders of the FLUX backbones, tiny and random, with tokenizers of a few words."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from golden_model import TINY

WORDS = ["user", "assistant", "please", "remove", "dehaze", "denoise", "the", "haze", "noise", "rain", "blur"]
WORDS += ["and", "from", "this", "picture"]
CHAT = (
    "{% for message in messages %}<turn> {{ message.role }} {{ message.content }} </turn> {% endfor %}"
    "{% if add_generation_prompt %}<turn> assistant {% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<nothought>{% endif %}"
)
TEXT_WIDTH = TINY["flux1"].transformer["joint_attention_dim"]
POOLED_WIDTH = TINY["flux1"].transformer["pooled_projection_dim"]


def tokenizer(length, template="$A", chat=None):
    special = ["<pad>", "<unk>", "<s>", "</s>", "<turn>", "</turn>", "<nothought>"]
    vocabulary = {word: index for index, word in enumerate(special + WORDS)}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(
        single=template, special_tokens=[(name, vocabulary[name]) for name in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=length,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=chat,
    )


def qwen3():
    """As many layers as its hidden states 9, 18 and 27 need, side by side as wide as the tiny transformer reads."""
    words = tokenizer(512, chat=CHAT)
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=TEXT_WIDTH // 3,
        intermediate_size=16,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=True,
    )
    return {"tokenizer": words, "text_encoder": _seeded(lambda: Qwen3ForCausalLM(config))}


def t5_and_clip():
    words, clip_words = tokenizer(512, "$A </s>"), tokenizer(77, "<s> $A </s>")
    t5 = T5Config(vocab_size=len(words), d_model=TEXT_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    clip = CLIPTextConfig(
        vocab_size=len(clip_words),
        hidden_size=POOLED_WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=clip_words.bos_token_id,
        eos_token_id=clip_words.eos_token_id,
        pad_token_id=clip_words.pad_token_id,
    )
    return {
        "tokenizer": clip_words,
        "text_encoder": _seeded(lambda: CLIPTextModel(clip)),
        "tokenizer_2": words,
        "text_encoder_2": _seeded(lambda: T5EncoderModel(t5)),
    }


def _seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for parameter in model.parameters():  # the usual start is so small that words hardly differ
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()
