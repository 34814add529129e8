"""Pictures on the page: several views of a scene side by side, each file embedded once however often it is shown.

Pictures stand in the style sheet as WebP data URLs, a class for each; a view names the class of its picture. So equal
pictures are shared without a script, and the overlay that zooms shows the same ones.
"""

import base64
import hashlib
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cotir.files import DAMAGE

LARGEST = 10_500_000
"""Bytes of all pictures together before they are written as text, which makes them a third more."""
_EFFORTS = ((512, 88), (512, 75), (448, 60), (352, 50), (256, 40), (192, 30))
"""Pixels of the longer side and WebP quality, tried in turn until the pictures fit."""


@dataclass(frozen=True)
class View:
    """A picture as it is shown: what it is, and its file; None if there is none."""

    label: str
    path: Path | None


@dataclass(frozen=True)
class Number:
    """A number in a caption, by name."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Picture:
    """Views of one scene, with a caption."""

    title: str
    note: str
    views: Sequence[View]
    numbers: Sequence[Number] = ()
    key: str = ""


@dataclass(frozen=True)
class Shelf:
    """Pictures of one method."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Embedded:
    """Files as they stand in the page: a style sheet, and the class and the size of each file that could be read."""

    style: str
    places: Mapping[Path, tuple[str, int, int]]
    side: int
    quality: int


def embed(shelves: Iterable[Shelf], largest: int = LARGEST) -> Embedded:
    """Read and compress the files of all views; those that cannot be read have no place.

    Args:
        shelves: of the gallery.
        largest: bytes of all pictures together; they are made smaller, then worse, until they fit or nothing is left.
    """
    files = {view.path: None for shelf in shelves for picture in shelf.pictures for view in picture.views if view.path}
    digests = {path: digest for path in files if (digest := _digest(path)) is not None}
    first: dict[str, Path] = {}
    for path, digest in digests.items():
        first.setdefault(digest, path)
    side, quality, small = *_EFFORTS[0], dict[str, tuple[bytes, int, int]]()
    for side, quality in _EFFORTS:
        small = {digest: found for digest, path in first.items() if (found := _smaller(path, side, quality))}
        if sum(len(data) for data, _, _ in small.values()) <= largest:
            break
    names = {digest: f"p{number}" for number, digest in enumerate(small)}
    style = "".join(
        f".{names[digest]}{{background-image:url(data:image/webp;base64,{base64.b64encode(data).decode()})}}\n"
        for digest, (data, _, _) in small.items()
    )
    places = {path: (names[d], small[d][1], small[d][2]) for path, d in digests.items() if d in small}
    return Embedded(style, places, side, quality)


def gallery(shelves: Sequence[Shelf], embedded: Embedded) -> str:
    """The pictures as HTML, a line of them for each method."""
    note = (
        f'<p class="note">Pictures are at most {embedded.side} pixels wide and high here, and compressed (WebP, '
        f"quality {embedded.quality}); the files themselves are in the run folder. Choose one to compare its views.</p>"
    )
    return note + "".join(
        f'<div class="shelf"><h3>{html.escape(shelf.title)}</h3><div class="grid3">'
        f"{''.join(_picture(each, shelf.title, embedded) for each in shelf.pictures)}</div></div>"
        for shelf in shelves
    )


def _picture(picture: Picture, shelf: str, embedded: Embedded) -> str:
    views = "".join(_view(view, embedded) for view in picture.views)
    numbers = "".join(
        f' <b data-number="{html.escape(each.name)}" data-value="{each.value!r}">{html.escape(each.text)}</b>'
        for each in picture.numbers
    )
    name = f"{shelf}: {picture.title}, {picture.note}"
    return (
        f'<figure class="picture" data-key="{html.escape(picture.key)}" data-name="{html.escape(name)}">'
        f'<button type="button" aria-label="zoom {html.escape(name)}">{views}</button>'
        f"<figcaption><strong>{html.escape(picture.title)}</strong>{numbers} "
        f"<small>{html.escape(picture.note)}</small></figcaption></figure>"
    )


def _view(view: View, embedded: Embedded) -> str:
    label = html.escape(view.label)
    place = embedded.places.get(view.path) if view.path else None
    if place is None:
        return f'<span class="view"><i>{label}</i><span class="none">no picture</span></span>'
    name, width, height = place
    return (
        f'<span class="view"><i>{label}</i><span class="pic {name}" role="img" aria-label="{label}" '
        f'data-size="{width} {height}" style="aspect-ratio:{width}/{height}"></span></span>'
    )


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _smaller(path: Path, side: int, quality: int) -> tuple[bytes, int, int] | None:
    """The picture as WebP, its width and height; None if it is none."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except DAMAGE:
        return None
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality)
    return file.getvalue(), picture.width, picture.height
