"""What the tests of the caches share: an encoder made of hashes, one that is watched, and what makes entries equal."""

import hashlib

import torch

from cotir.encode import TextTokens

TOKENS, WIDTH = 16, 256
ENTRY_BYTES = TOKENS * WIDTH * 4 + TOKENS * 8


def random_tokens(texts, dtype=torch.float32, pooled=False):
    """Embeddings that depend on nothing but the text."""
    generators = [
        torch.Generator().manual_seed(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)) for text in texts
    ]
    rows = [torch.randn(TOKENS, WIDTH, generator=generator) for generator in generators]
    mask = torch.tensor([[1] * min(len(text), TOKENS) + [0] * (TOKENS - len(text)) for text in texts])
    embeddings = torch.stack(rows).to(dtype)
    return TextTokens(embeddings, mask, embeddings.mean(dim=1) if pooled else None)


class Recorder:
    """An encoder that remembers what it was asked."""

    def __init__(self, encode=random_tokens):
        self.encode, self.batches = encode, []

    def __call__(self, given):
        self.batches.append(list(given))
        return self.encode(given)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(given, expected):
    """Equal in every bit, and in dtype."""
    pairs = [(given.embeddings, expected.embeddings), (given.mask, expected.mask), (given.pooled, expected.pooled)]
    return all((a is b) or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)
