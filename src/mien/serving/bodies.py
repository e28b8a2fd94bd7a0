"""The images of a request, in whichever of four forms they were sent, within bounds and never on disk."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

from mien.serving.faults import ServiceError

if TYPE_CHECKING:
    from starlette.requests import Request

    from mien.serving.config import ServiceConfig

_NAME = re.compile(r"[^\w .()+-]")


@dataclass(frozen=True)
class Sent:
    """One image as it was sent.

    Attributes:
        name: as the client called it, or a number; printable and short.
        data: the bytes of the file.
    """

    name: str
    data: bytes


async def read_images(request: Request, config: ServiceConfig) -> list[Sent]:
    """The images of a request.

    Forms: a file as the whole body (``image/*`` or ``application/octet-stream``), named by a ``Content-Disposition`` if
    any; ``multipart/form-data`` with one
    file per image; JSON ``{"images": [{"data": "<base64>", "name": "a.jpg"}]}``, or its short form
    ``{"image": "<base64>"}``.

    Raises:
        ServiceError: 400, 413 or 415, with what to do instead.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = await _from_form(request, config)
    elif kind == "application/json":
        images = _from_json(await _body(request, config), config)
    elif kind.startswith("image/") or kind in ("application/octet-stream", ""):
        named = _file_name(request.headers.get("content-disposition", ""))
        images = [Sent(_shown(named, "image"), await _body(request, config))]
    else:
        raise ServiceError(
            415,
            "unsupported_media_type",
            f"{kind[:60]} is not understood; send an image with its own type (curl: -H 'Content-Type: image/jpeg'), a "
            "form (curl: -F image=@photo.jpg), or JSON with base64",
        )
    if not images or not any(image.data for image in images):
        raise ServiceError(400, "bad_request", "there is no image in the request; see /docs for the forms it can have")
    if len(images) > config.max_images:
        raise ServiceError(413, "too_large", f"a request has at most {config.max_images} images; send fewer at once")
    return images


async def _body(request: Request, config: ServiceConfig) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > config.max_bytes:
            raise too_large(config)
        parts.append(part)
    return b"".join(parts)


def too_large(config: ServiceConfig) -> ServiceError:
    """The body is larger than allowed."""
    return ServiceError(
        413, "too_large", f"a request has at most {config.max_bytes / 2**20:g} MiB; send smaller images"
    )


async def _from_form(request: Request, config: ServiceConfig) -> list[Sent]:
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    class InMemory(MultiPartParser):
        spool_max_size = config.max_bytes + 1  # what is sent never touches the disk

    async def bounded() -> Any:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > config.max_bytes:
                raise too_large(config)
            yield part

    parser = InMemory(request.headers, bounded(), max_files=config.max_images + 1, max_fields=16)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as error:
        said = getattr(error, "message", "") or "its parts cannot be told apart"
        raise ServiceError(400, "bad_request", f"the form cannot be read: {str(said)[:120]}") from None
    images = []
    try:
        for number, (_, value) in enumerate(form.multi_items(), 1):
            if isinstance(value, UploadFile):
                images.append(Sent(_shown(value.filename, f"image {number}"), await value.read()))
    finally:
        for file in parser._files_to_close_on_error:  # a file that breaks off is no item of the form
            file.close()
    return images


def _from_json(body: bytes, config: ServiceConfig) -> list[Sent]:
    try:
        content = json.loads(body)
    except (ValueError, UnicodeDecodeError, RecursionError):
        raise ServiceError(400, "bad_request", "the body is no JSON; or send the image itself as the body") from None
    if isinstance(content, dict) and "image" in content and "images" not in content:
        content = {"images": [{"data": content["image"]}]}
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ServiceError(
            400, "bad_request", 'JSON has the form {"images": [{"data": "<base64>"}]} or {"image": "<base64>"}'
        )
    if len(entries) > config.max_images:
        raise ServiceError(413, "too_large", f"a request has at most {config.max_images} images; send fewer at once")
    images = []
    for number, entry in enumerate(entries, 1):
        text, name = entry.get("data"), entry.get("name")
        if not isinstance(text, str) or not (name is None or isinstance(name, str)):
            raise ServiceError(
                400, "bad_request", f'image {number} needs "data" in base64, and a "name" in text if any'
            )
        try:
            data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
        except (binascii.Error, ValueError):
            raise ServiceError(400, "bad_request", f"the data of image {number} is no base64") from None
        images.append(Sent(_shown(name, f"image {number}"), data))
    return images


def _file_name(disposition: str) -> str:
    """The file name of ``attachment; filename="a.jpg"``, or of the form for other alphabets (RFC 6266); empty if none.

    Example:
        >>> _file_name("attachment; filename*=UTF-8''m%C3%BCde.jpg"), _file_name("inline")
        ('müde.jpg', '')
    """
    header = EmailMessage(HTTP)
    with contextlib.suppress(
        ValueError, LookupError, AttributeError, MessageError
    ):  # what is no such header names nothing
        header["Content-Disposition"] = disposition
        return header.get_filename("")
    return ""


def _shown(name: str | None, otherwise: str) -> str:
    """A name that can be repeated to its sender and in logs without harm."""
    clean = _NAME.sub("_", (name or "").rsplit("/", 1)[-1].rsplit("\\", 1)[-1])[:80].strip()
    return clean or otherwise
