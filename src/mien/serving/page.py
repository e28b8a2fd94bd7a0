"""The service's pages: try an image, watch the camera, read how programs ask. Put together once, when it starts."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from mien.recognition.page import FOLDER, image_content, page

_HERE = Path(__file__).with_name("pages")
_LINKS = {"/": "Image", "/live": "Camera", "/docs": "API"}
_STYLES = '<link rel="stylesheet" href="/pages/shared/style.css">'


def add_pages(app: FastAPI) -> None:
    """The pages and what they load; nothing of it comes from anywhere else."""
    promise = "The image goes to this service and is not stored."
    _add(app, "/", "try an image", image_content(promise), "shared/faces.js", "service.js", "shared/image.js")
    _add(app, "/live", "camera", _read("live.html"), "shared/faces.js", "service.js", "live.js")
    _add(app, "/docs", "API", _read("docs.html"))
    app.mount("/pages/shared", StaticFiles(directory=FOLDER), name="shared pages")
    app.mount("/pages", StaticFiles(directory=_HERE), name="pages")


def _add(app: FastAPI, path: str, title: str, content: str, *scripts: str) -> None:
    tags = "\n".join(f'<script src="/pages/{name}"></script>' for name in scripts)
    text = page(title, content, styles=_STYLES, scripts=tags, links=_LINKS, here=path)

    @app.get(path, include_in_schema=False)
    async def shown() -> HTMLResponse:
        return HTMLResponse(text)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
