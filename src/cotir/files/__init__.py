"""Picture files: read one whole or say in one sentence why not; write one whole or leave nothing.

The kinds and what each can hold are the table :data:`cotir.files.encoder.KINDS`. Pillow reads and writes them;
pillow-heif is loaded when a HEIC file turns up, the JPEG XL plug-in if it is installed.
"""

import io
import os
import secrets
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from cotir.errors import ImageError
from cotir.files import decoder, encoder
from cotir.files.encoder import KINDS, Kind
from cotir.image import Picture

MAX_PIXELS = 300_000_000
"""Largest picture read unless told otherwise, by width times height: 17,320 on a side, 3.6 GB as float32."""

SUFFIXES: tuple[str, ...] = tuple(suffix for kind in KINDS.values() for suffix in kind.suffixes)
"""Readable file name endings, lower case, with the dot."""

FORMATS: tuple[str, ...] = ("keep", *(kind.name for kind in KINDS.values() if not kind.written_as))
"""What ``format`` may be in :func:`write`."""

DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError,
    AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
"""What Pillow, imagecodecs, tifffile and libheif raise on damaged files, their own bugs on hostile bytes included."""


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture: upright, in sRGB, at full depth, with everything the file carries (see :class:`Picture`).

    Args:
        path: any name the system allows.
        max_pixels: refuse more than this, by the header, before anything is decoded.

    Raises:
        ImageError: it does not exist, is no regular file, is empty, may not be read, is no picture of a known kind, is
            damaged or truncated, or is larger than ``max_pixels``. The message starts with the path.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path}: is a folder; name the pictures inside it")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: is no regular file; copy the picture to one")
        with path.open("rb") as file:
            return _decoded(file, str(path), max_pixels)
    except FileNotFoundError as error:
        where = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
        raise ImageError(f"{path}: {where}; check the name") from error
    except PermissionError as error:
        raise ImageError(f"{path}: may not be read; check its permissions") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be opened ({_reason(error)})") from error


def decode(data: bytes, *, name: str = "the picture", max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from the bytes of a file, as :func:`read` does; ``name`` stands for the path in messages."""
    return _decoded(io.BytesIO(data), name, max_pixels)


def from_pil(image: Image.Image) -> Picture:
    """Take a PIL image with what its ``info`` carries; :class:`ImageError` if its pixels cannot be loaded.

    Pillow holds 16-bit colour at 8 bits only: read such a file by its path.
    """
    try:
        return decoder.picture(image)
    except DAMAGE as error:
        raise ImageError(f"the PIL image cannot be loaded ({_reason(error)}); open it again") from error
    except ImageError as error:
        raise ImageError(f"the PIL image {error}") from error


def kind_for(picture: Picture, path: str | os.PathLike[str], format: str | None = None) -> Kind:
    """The kind of file :func:`write` will make.

    Args:
        picture: its own kind is what ``"keep"`` asks for.
        path: its ending decides when ``format`` is None, or when the picture came from no file.
        format: one of :data:`FORMATS`, or another usual ending of one ("jpeg", "tif").

    Raises:
        ImageError: an unknown format or ending.
    """
    asked = format or Path(path).suffix.lower().removeprefix(".")
    if format == "keep":
        asked = picture.carried.format or Path(path).suffix.lower().removeprefix(".") or "png"
    kind = next((kind for kind in KINDS.values() if asked == kind.name or f".{asked}" in kind.suffixes), None)
    if kind is None:
        raise ImageError(f"{path}: '{asked}' is no format CoTIR writes; choose one of {', '.join(FORMATS)}")
    if kind.name == "heic" and format == "keep" and not (_heic_encoder() and _x265_takes(picture)):
        return KINDS["png"]
    return KINDS[kind.written_as] if kind.written_as else kind


def losses(picture: Picture, path: str | os.PathLike[str], *, format: str | None = None) -> tuple[str, ...]:
    """Notes for the user: what :func:`write` with the same arguments cannot keep, and what it does instead."""
    kind = kind_for(picture, path, format)
    came_as = picture.carried.format
    moved = format == "keep" and came_as is not None and came_as != kind.name
    return (*((f"{came_as} written as {kind.name}",) if moved else ()), *encoder.losses(picture, kind))


def encode(picture: Picture, *, format: str = "keep", quality: int | None = None) -> bytes:
    """The bytes :func:`write` would put into the file."""
    return _encoded(picture, kind_for(picture, "the picture", format), quality, "the picture")


def write(
    picture: Picture, path: str | os.PathLike[str], *, format: str | None = None, quality: int | None = None
) -> Path:
    """Write a picture with everything it carries, whole or not at all.

    The bytes go to a temporary name in the same folder, to the disk, and then to ``path`` in one step, replacing what
    was there. What the format cannot hold is handled as :func:`losses` says: alpha is composited on white, 16 bits are
    rounded to 8, a profile becomes sRGB, other metadata is dropped. GIF is written as PNG (256 colours would undo the
    restoration), and so is HEIC under ``"keep"`` where pillow-heif has no encoder or the picture is too narrow for it.

    Args:
        picture: what to write.
        path: where; its ending is replaced, or added, when it is not one of the format's.
        format: None goes by the ending of ``path``, "keep" by the file the picture came from; else see :data:`FORMATS`.
        quality: 1 to 100 for JPEG, WebP, AVIF, HEIC and JPEG XL; None is 95, 95, 90, 90 and 95.

    Returns:
        The path written.

    Raises:
        ImageError: an unknown format, a size the format cannot hold, or a folder or disk that cannot be written.
    """
    path = Path(path)
    kind = kind_for(picture, path, format)
    target = _named(path, kind)
    data = _encoded(picture, kind, quality, str(target))
    # short and pure ASCII, so that it fits wherever the name itself does
    partial = target.parent / f".cotir-{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, ValueError) as error:
        raise ImageError(f"{target}: cannot be written ({_reason(error)}); check the folder and the disk") from error
    finally:
        # a folder that is not there or a name no file can have: then there is nothing to take away either
        with suppress(OSError, ValueError):
            partial.unlink()
    return target


def _named(path: Path, kind: Kind) -> Path:
    if path.suffix.lower() in kind.suffixes:
        return path
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    return path.with_name(stem + kind.suffixes[0])


def _decoded(file: BinaryIO, name: str, max_pixels: int) -> Picture:
    head = file.read(16)
    if not head:
        raise ImageError(f"{name}: is empty (0 bytes)")
    try:
        with _own_limit(), _opened(file, head) as image:
            width, height = decoder.size(image)
            count = width * height
            if count > max_pixels:
                raise ImageError(
                    f"{width} x {height} = {count:,} pixels is above the limit of {max_pixels:,}; "
                    f"if you trust the file, allow it with --max-pixels {count}"
                )
            return decoder.picture(image, file)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: is no picture that can be read; CoTIR reads {', '.join(KINDS)}{_hint(head)}"
        ) from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except DAMAGE as error:
        raise ImageError(f"{name}: is damaged or truncated ({_reason(error)})") from error


def _encoded(picture: Picture, kind: Kind, quality: int | None, name: str) -> bytes:
    if kind.name == "heic" and not _heic_encoder():
        raise ImageError(f"{name}: pillow-heif is missing or has no HEIC encoder; write avif or png")
    if kind.name == "jxl" and not _plugin("pillow_jxl"):
        raise ImageError(f"{name}: JPEG XL needs a plug-in; pip install pillow-jxl-plugin, or write avif or png")
    try:
        return encoder.encode(picture, kind, quality)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except DAMAGE as error:
        raise ImageError(f"{name}: cannot be written as {kind.name} ({_reason(error)}); try png") from error


def _opened(file: BinaryIO, head: bytes) -> Image.Image:
    file.seek(0)
    try:
        return Image.open(file, formats=_readers(head))
    except UnidentifiedImageError:
        if head[:4] not in (b"II*\x00", b"MM\x00*"):
            raise
        return decoder.tiff_stand_in(file)


def _readers(head: bytes) -> list[str]:
    """Pillow's names of the formats to try: only those of the table, so no obscure parser sees a stranger's bytes."""
    if head[4:8] == b"ftyp":
        _register_heif()
    elif _is_jxl(head):
        _plugin("pillow_jxl")
    names = [*dict.fromkeys(kind.pillow for kind in KINDS.values()), "MPO"]
    Image.init()
    return [name for name in names if name in Image.OPEN]


def _is_jxl(head: bytes) -> bool:
    return head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL "))


def _hint(head: bytes) -> str:
    return "; for JPEG XL, pip install pillow-jxl-plugin" if _is_jxl(head) and "JXL" not in Image.OPEN else ""


def _plugin(name: str) -> bool:
    """Import a Pillow plug-in, which registers itself; whether it is there."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def _register_heif() -> bool:
    if not _plugin("pillow_heif"):
        return False
    if "HEIF" not in Image.OPEN:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return True


def _heic_encoder() -> bool:
    if not _register_heif():
        return False
    import pillow_heif

    return bool(pillow_heif.libheif_info()["HEIF"])


def _x265_takes(picture: Picture) -> bool:
    # measured with x265 4.3: below 32 pixels it gives up somewhere between 4,200 and 5,000 on the long side
    return min(picture.height, picture.width) >= 32 or max(picture.height, picture.width) <= 4096


_limit_lock = threading.Lock()
_limit_users = 0
_limit_of_pillow: int | None = None


@contextmanager
def _own_limit() -> Iterator[None]:
    """Lift Pillow's process-wide pixel limit while at least one picture is read under CoTIR's own."""
    global _limit_users, _limit_of_pillow
    with _limit_lock:
        if _limit_users == 0:
            _limit_of_pillow, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _limit_users += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users -= 1
            if _limit_users == 0:
                Image.MAX_IMAGE_PIXELS = _limit_of_pillow


def _reason(error: BaseException) -> str:
    """One line of what a library said, without its "[Errno 2]" and the file name it repeats."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__
