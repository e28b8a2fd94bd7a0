"""The live page's other end: frames of a camera in, numbered faces with smoothed probabilities out; nothing is kept."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from mien.errors import InputError
from mien.recognition.tracking import Smoother, Tracker
from mien.serving.engine import Ask, Engine
from mien.serving.faults import ServiceError
from mien.serving.gate import known_host

if TYPE_CHECKING:
    from mien.serving.admission import Admission
    from mien.serving.config import ServiceConfig

_TOO_MANY, _REFUSED, _SILENT = 4429, 4401, 4408
"""Codes with which a connection is closed."""
_SILENCE = 60.0
"""Seconds that a page may say nothing before its place is given to another."""


def add_live(app: FastAPI, engine: Engine, admission: Admission, config: ServiceConfig) -> None:
    """The WebSocket ``/v1/live``, the other end of the page ``/live``.

    The page sends one frame (the bytes of a JPEG) and waits for the answer before it sends the next, so old frames
    never queue up. The answer is ``{"faces": […], "ms": …}``, or ``{"error": {…}}`` for a frame that was no image, or
    that is dropped because there is no room for it beside the bodies of requests.
    """
    open_now = 0

    @app.websocket("/v1/live")
    async def frames(socket: WebSocket) -> None:
        nonlocal open_now
        refusal = _refusal(socket, config)
        await socket.accept("mien" if "mien" in _protocols(socket) else None)
        if refusal:
            await socket.close(_REFUSED, refusal)
            return
        if open_now >= config.live:
            await socket.close(_TOO_MANY, f"{config.live} live pages are open already; close one")
            return
        open_now += 1
        try:
            await _talk(socket, engine, admission, config)
        except WebSocketDisconnect:
            pass
        finally:
            open_now -= 1


async def _talk(socket: WebSocket, engine: Engine, admission: Admission, config: ServiceConfig) -> None:
    tracker, smoother, began = Tracker(), Smoother(0.25), time.monotonic()
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), _SILENCE)
        except TimeoutError:
            await socket.close(_SILENT, "nothing came for a while; start again")
            return
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        if not isinstance(data, bytes) or len(data) > config.max_bytes:
            await socket.close(1003, "send the bytes of one JPEG per message")
            return
        start = time.monotonic()
        try:
            with admission.bodies(str(len(data))):
                answer = await _look(data, engine, config, tracker, smoother, start - began)
        except ServiceError as error:
            answer = {"error": {"type": error.type, "message": error.message}}
        except InputError as error:
            answer = {"error": {"type": "unusable_image", "message": str(error)}}
        await socket.send_json({**answer, "ms": round(1e3 * (time.monotonic() - start), 1)})


async def _look(
    data: bytes, engine: Engine, config: ServiceConfig, tracker: Tracker, smoother: Smoother, now: float
) -> dict[str, Any]:
    found = (await engine.recognize([Ask(data, "the frame", deadline=time.monotonic() + config.seconds)]))[0]
    if isinstance(found, InputError):
        raise found
    ids = tracker.update(found.boxes if found.boxes is not None else [], now)
    smoothed = smoother.update(ids, found.probabilities, now)
    smoother.keep(tracker.alive)
    faces = replace(found, probabilities=smoothed, track_ids=ids, image=None)
    return {"faces": faces.to_dicts(), "size": found.size}


def _protocols(socket: WebSocket) -> list[str]:
    return [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]


def _refusal(socket: WebSocket, config: ServiceConfig) -> str:
    """Why this page may not connect: browsers let any page open a WebSocket to anywhere, so the origin counts."""
    if not known_host(socket.headers.get("host", ""), config):
        return "this service is not called by that name"
    origin = socket.headers.get("origin")
    if origin is not None and origin not in config.origins:
        asked = urlsplit(f"//{socket.headers.get('host', '')}").netloc
        if urlsplit(origin).netloc != asked:
            return "pages of other origins may not connect"
    if config.token:
        sent = [part.removeprefix("token.") for part in _protocols(socket) if part.startswith("token.")]
        if not any(hmac.compare_digest(token.encode(), config.token.encode()) for token in sent):
            return "the service wants its token"
    return ""
