"""Caches of what frozen encoders compute: text embeddings and latents, by content, in memory and on disk.

An entry is named by the sha256 of (identity of the encoder, content), so another encoder or another text never finds
it. On disk it is one safetensors file in one of 256 subfolders, written beside its place and renamed: any number of
processes may share a folder. Entries hold what the encoder returned, padding included (FLUX reads it), bit for bit.

Shapes: B batch, N text tokens, D width of the text encoder, C latent channels, h x w latent grid, H x W pixels.
"""

import hashlib
import json
import tempfile
import uuid
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cotir.encode import TextTokens
from cotir.errors import ConfigError, ImageError, PromptError
from cotir.identity import sha256, stream

_Entry = dict[str, Tensor]

_CHECKSUM = "checksum"


@dataclass
class CacheStats:
    """What a cache was asked for so far; what is asked twice in one call counts once."""

    hits_memory: int = 0
    hits_disk: int = 0
    misses: int = 0  # entries that had to be encoded
    rewritten: int = 0  # those of them whose file was there but damaged, and is replaced


class _Store:
    """Entries by content, in memory within a limit and, if there is a folder, on disk."""

    def __init__(self, identity: str, folder: Path | None, memory_mb: float) -> None:
        if not memory_mb >= 0:
            raise ConfigError(f"memory_mb of the cache is {memory_mb}; it must be 0 (keep nothing in memory) or more")
        self._identity, self._folder, self._writing = identity, folder, folder is not None
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes, self._limit = 0, memory_mb * 2**20
        self.stats = CacheStats()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ConfigError(
                f"the cache folder {folder} cannot be created or written: {error.strerror or error}; name a folder "
                "that you may write to, or none to keep the cache in memory only"
            ) from error

    def _collect(self, contents: Sequence[str], encode: Callable[[list[int]], Iterable[_Entry]]) -> _Entry:
        """The entries of the contents, stacked; ``encode`` makes those of the indices given, in their order."""
        names = [hashlib.sha256(json.dumps([self._identity, content]).encode()).hexdigest() for content in contents]
        index = {name: i for i, name in enumerate(names)}
        entries = {name: entry for name in index if (entry := self._look_up(name)) is not None}
        missing = [name for name in index if name not in entries]
        for name, entry in zip(missing, encode([index[name] for name in missing]), strict=True):
            self.stats.misses += 1
            entries[name] = entry
            self._keep(name, entry)
            self._write(name, entry)
        return {part: torch.stack([entries[name][part] for name in names]) for part in entries[names[0]]}

    def _look_up(self, name: str) -> _Entry | None:
        if name in self._kept:
            self.stats.hits_memory += 1
            self._kept.move_to_end(name)
            return self._kept[name]
        entry = self._read(name)
        if entry is not None:
            self.stats.hits_disk += 1
            self._keep(name, entry)
        return entry

    def _keep(self, name: str, entry: _Entry) -> None:
        if _size(entry) > self._limit:
            return
        self._kept[name] = entry
        self._bytes += _size(entry)
        while self._bytes > self._limit:
            self._bytes -= _size(self._kept.popitem(last=False)[1])

    def _read(self, name: str) -> _Entry | None:
        if self._folder is None:
            return None
        try:
            # Not mapped: a mapped file that something else cuts short would end the process.
            entry = load((self._folder / name[:2] / f"{name}.safetensors").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            entry = {}
        if _CHECKSUM in entry and entry.pop(_CHECKSUM).tolist() == [_checksum(entry)]:
            return entry
        self.stats.rewritten += 1
        return None

    def _write(self, name: str, entry: _Entry) -> None:
        """Write an entry unless the disk has refused one before: a cache that cannot grow must not end a training."""
        if self._folder is None or not self._writing:
            return
        part = self._folder / name[:2] / f".{name}.{uuid.uuid4().hex}.part"
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not synced, which would cost more than encoding: the checksum finds what a power cut leaves.
                part.write_bytes(save({**entry, _CHECKSUM: torch.tensor([_checksum(entry)])}))
                part.replace(part.with_name(f"{name}.safetensors"))
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            self._writing = False
            warnings.warn(
                f"cannot write to the cache folder {self._folder}: {error.strerror or error}. Going on without writing "
                "to it, so later runs encode again what is not there yet; free some space or name another folder",
                RuntimeWarning,
                stacklevel=4,  # the line that called the cache
            )


class TextCache(_Store):
    """Encoded instructions: each string goes through the text encoder once.

    An encoder's last bits may depend on the batch it ran in; what was stored stays.

    Args:
        encode: strings -> their :class:`~cotir.encode.TextTokens`, always of the same length N.
        identity: of the encoder, by :func:`text_identity`.
        folder: where entries are kept between runs; None keeps them in memory only.
        memory_mb: least recently used entries leave the memory beyond so many MiB.
        dtype: of the embeddings returned, None for the encoder's own. What is stored is the encoder's own always.
        batch_size: missing strings that are encoded together.

    Raises:
        ConfigError: the folder cannot be created or written, or a number is out of range.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], TextTokens],
        identity: str,
        folder: Path | None,
        *,
        memory_mb: float = 512,
        dtype: torch.dtype | None = None,
        batch_size: int = 32,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size of the text cache is {batch_size}; it must be at least 1")
        super().__init__(identity, folder, memory_mb)
        self._encode, self._dtype, self._batch_size = torch.no_grad()(encode), dtype, batch_size

    def __call__(self, texts: Sequence[str]) -> TextTokens:
        """Embeddings (B, N, D), mask (B, N) and pooled (B, D_pooled) or None, in the order asked, on the CPU.

        Raises:
            PromptError: no text is given, or one string where a list is needed.
        """
        if isinstance(texts, str) or not texts:
            raise PromptError(f"the text cache takes a list of at least one instruction, not {texts!r}")
        tensors = self._collect(texts, partial(self._encode_missing, texts))
        mask = tensors.pop("mask")
        return TextTokens(mask=mask, **{part: tensor.to(self._dtype) for part, tensor in tensors.items()})

    def _encode_missing(self, texts: Sequence[str], missing: list[int]) -> Iterator[_Entry]:
        for start in range(0, len(missing), self._batch_size):
            tokens = self._encode([texts[index] for index in missing[start : start + self._batch_size]])
            yield from _rows({part: tensor for part, tensor in vars(tokens).items() if tensor is not None})


class LatentCache(_Store):
    """Encoded pictures: each goes through the autoencoder once.

    ``encode`` takes pixels (B, 3, H, W) float in [-1, 1] to latents (B, C, h, w); ``identity`` is by
    :func:`latent_identity`; the rest is as in :class:`TextCache`, errors too.
    """

    def __init__(
        self, encode: Callable[[Tensor], Tensor], identity: str, folder: Path | None, *, memory_mb: float = 512
    ) -> None:
        super().__init__(identity, folder, memory_mb)
        self._encode = torch.no_grad()(encode)

    def __call__(self, pixels: Tensor, keys: Sequence[str | None] | None = None) -> Tensor:
        """Latents (B, C, h, w) in the autoencoder's own dtype, on the CPU; the missing ones are encoded together.

        Args:
            pixels: (B, 3, H, W) uint8, or float in [-1, 1].
            keys: for each picture a string that stands for its pixels (the file's hash and the crop), or None to hash
                the pixels themselves. A key is trusted, except that another size is another entry.

        Raises:
            ImageError: another shape, type or range, or another number of keys.
        """
        keys = [None] * len(pixels) if keys is None else keys
        if pixels.ndim != 4 or pixels.shape[1] != 3 or len(pixels) != len(keys) or not keys:
            raise ImageError(f"pixels {tuple(pixels.shape)} with {len(keys)} keys; give (B, 3, H, W) and B keys, B > 0")
        contents = [
            f"pixels {sha256({'': picture})}" if key is None else f"key {tuple(picture.shape)} {key}"
            for picture, key in zip(pixels, keys, strict=True)
        ]
        return self._collect(contents, partial(self._encode_missing, pixels))["latents"]

    def _encode_missing(self, pixels: Tensor, missing: list[int]) -> Iterator[_Entry]:
        if not missing:
            return
        given = pixels[missing]
        if given.dtype == torch.uint8:
            given = given.float() / 255 * 2 - 1
        elif not given.is_floating_point() or not given.abs().max() <= 1.001:  # NaN is not
            raise ImageError(f"pixels are {given.dtype} up to {given.abs().max()}; give uint8, or float in [-1, 1]")
        yield from _rows({"latents": self._encode(given)})


def _rows(tensors: Mapping[str, Tensor]) -> Iterator[_Entry]:
    """The rows of tensors that were encoded together, each with memory of its own: a view would keep all of them."""
    batch = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    for rows in zip(*batch.values(), strict=True):
        yield {name: row.clone(memory_format=torch.contiguous_format) for name, row in zip(batch, rows, strict=True)}


def _size(entry: _Entry) -> int:
    return sum(tensor.nbytes for tensor in entry.values())


def _checksum(entry: _Entry) -> int:
    return reduce(lambda checksum, chunk: zlib.crc32(chunk, checksum), stream(entry), 0)
