"""The service: routes over one `Engine`. Built by a function, so that tests and workers make their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import mien
from mien.errors import InputError
from mien.recognition import Recognizer
from mien.recognition.files import FileRecord
from mien.serving import schemas
from mien.serving.admission import Admission
from mien.serving.bodies import read_images
from mien.serving.config import ENVIRONMENT, ServiceConfig
from mien.serving.engine import Ask, Engine
from mien.serving.faults import TYPES, ServiceError
from mien.serving.gate import Gate, error_content
from mien.serving.live import add_live
from mien.serving.observation import Figures
from mien.serving.page import add_pages

_ABOUT = (
    "Facial expressions of the faces on images. The labels say what a face shows, not what a person feels; the use of "
    "emotion recognition is restricted by law in places. No image is stored."
)
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorModel, "description": TYPES[status].replace("_", " ")}
    for status in (400, 401, 408, 413, 415, 422, 429, 503)
}


def from_environment() -> FastAPI:
    """The service of a worker process."""
    return create_app(ServiceConfig.from_json(os.environ[ENVIRONMENT]))


def create_app(config: ServiceConfig | None = None, recognizer: Recognizer | None = None) -> FastAPI:
    """The ASGI application.

    Args:
        config: bounds and doors; see `ServiceConfig`.
        recognizer: instead of the configuration's model and detector.

    Example:
        >>> create_app().title                                              # doctest: +SKIP
        'mien'
    """
    config = config or ServiceConfig()
    figures = Figures()
    engine = Engine(config, recognizer, figures.batches.observe)
    admission = Admission(config)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.warm_up()
        yield
        engine.close()

    app = FastAPI(
        title="mien", version=mien.__version__, description=_ABOUT, lifespan=lifespan, redoc_url=None, docs_url=None
    )
    app.state.engine, app.state.figures, app.state.config = engine, figures, config
    app.state.admission = admission

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> JSONResponse:
        content, headers = error_content(error, request.state.request_id)
        return JSONResponse(content, error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        told = ServiceError(400, "bad_request", f"{where}: {first['msg']}; see /openapi.json")
        content, headers = error_content(told, request.state.request_id)
        return JSONResponse(content, told.status, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        told = ServiceError(
            error.status_code, TYPES.get(error.status_code, "error"), f"{error.detail}; see /openapi.json"
        )
        content, headers = error_content(told, request.state.request_id)
        return JSONResponse(content, error.status_code, {**dict(error.headers or {}), **headers})

    async def answer(request: Request, views: str, crop: bool) -> dict[str, Any]:
        known = engine.recognizer.card.temperatures
        if views and views not in known:
            raise ServiceError(400, "bad_request", f"there is no such view; choose one of {', '.join(known)}")
        with admission.bodies(request.headers.get("content-length")):
            try:
                sent = await asyncio.wait_for(read_images(request, config), config.seconds)
            except TimeoutError:
                raise ServiceError(408, "too_slow", "the body took too long to arrive; send smaller images") from None
            deadline = time.monotonic() + config.seconds
            figures.pending.set(engine.pending)
            found = await engine.recognize([Ask(image.data, image.name, views, crop, deadline) for image in sent])
        if len(found) == 1 and isinstance(found[0], InputError):
            raise ServiceError(422, "unusable_image", str(found[0]))
        images, faces = [], 0
        for image, expressions in zip(sent, found, strict=True):
            if isinstance(expressions, InputError):
                record = FileRecord(image.name, "error", message=str(expressions))
            else:
                faces += len(expressions)
                record = FileRecord(image.name, "ok" if len(expressions) else "no face", expressions)
            figures.images.labels(record.status).inc()
            images.append(record.to_dict())
        figures.faces.inc(faces)
        request.state.log = {"images": len(images), "faces": faces}
        return {"model": engine.recognizer.card.name, "images": images}

    described = Query(
        "",
        description="A view that the model was calibrated for; by default `one`.",
        json_schema_extra={"enum": ["", *engine.recognizer.card.temperatures]},
    )

    @app.post("/v1/predict", response_model=schemas.AnswerModel, responses=_ERRORS, openapi_extra=schemas.BODY,
              response_model_exclude_unset=True, tags=["recognise"])  # fmt: skip
    async def predict(request: Request, views: str = described) -> dict[str, Any]:
        """The faces of one or more images and their expressions."""
        return await answer(request, views, crop=False)

    @app.post("/v1/classify", response_model=schemas.AnswerModel, responses=_ERRORS, openapi_extra=schemas.BODY,
              response_model_exclude_unset=True, tags=["recognise"])  # fmt: skip
    async def classify(request: Request, views: str = described) -> dict[str, Any]:
        """Images that are one face each already; no detector runs."""
        return await answer(request, views, crop=True)

    @app.get("/v1/models", response_model=schemas.ModelsModel, responses={401: _ERRORS[401]}, tags=["service"])
    async def models() -> dict[str, Any]:
        """What answers here."""
        card = engine.recognizer.card
        entry = {
            "name": card.name,
            "labels": list(engine.recognizer.label_set.labels),
            "input_size": card.input.size,
            "precision": card.precision,
            "sha256": card.sha256,
            "views": list(card.temperatures),
            "threshold": card.threshold,
            "extra_data": list(card.extra_data),
            "licence": card.licence,
        }
        return {"models": [entry]}

    @app.get("/healthz", response_model=schemas.StatusModel, tags=["service"])
    async def healthz() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "ok"}

    @app.get(
        "/readyz", response_model=schemas.StatusModel, responses={503: {"model": schemas.ErrorModel}}, tags=["service"]
    )
    async def readyz() -> dict[str, str]:
        """Whether it takes requests."""
        if not engine.ready:
            raise ServiceError(503, "not_ready", "the model is being loaded", retry_after=1)
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses={401: _ERRORS[401]}, tags=["service"])
    async def metrics() -> Response:
        """Figures for Prometheus."""
        figures.pending.set(engine.pending)
        return Response(figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    add_live(app, engine, admission, config)
    add_pages(app)
    if config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-disposition", "content-type", "x-request-id"],
        )
    app.add_middleware(Gate, config=config, figures=figures)
    return app
