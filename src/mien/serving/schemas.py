"""What the service answers, as its OpenAPI description says it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_EXAMPLE_FACE: dict[str, Any] = {
    "box": [211.4, 62.3, 346.0, 231.8],
    "score": 0.87,
    "label": "happy",
    "confidence": 0.92,
    "decided": True,
    "probabilities": {
        "angry": 0.012,
        "disgust": 0.007,
        "fear": 0.011,
        "happy": 0.92,
        "sad": 0.014,
        "surprise": 0.013,
        "neutral": 0.023,
    },
    "landmarks": [[247.1, 131.6], [309.9, 130.2], [279.3, 170.8], [255.0, 190.2], [306.4, 188.9]],
}


class FaceModel(BaseModel):
    """One face."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_FACE})
    box: list[float] | None = Field(description="x1, y1, x2, y2 in pixels; null for a ready crop.")
    score: float | None = Field(description="How sure the detector is, 0–1.")
    label: str = Field(description="The most probable expression.")
    confidence: float = Field(description="Its calibrated probability, 0–1.")
    decided: bool = Field(description="Whether the confidence reaches the model's threshold.")
    probabilities: dict[str, float]
    landmarks: list[list[float]] | None = Field(description="Eyes, nose, corners of the mouth: x, y in pixels.")


class ImageModel(BaseModel):
    """One image."""

    file: str
    status: Literal["ok", "no face", "error"]
    width: int | None
    height: int | None
    faces: list[FaceModel]
    message: str | None = Field(None, description="What is wrong with this image.")


class AnswerModel(BaseModel):
    """All images of a request, in order."""

    model: str = Field(description="Name of the bundle.")
    images: list[ImageModel]


class ErrorDetail(BaseModel):
    """What is wrong."""

    type: str = Field(examples=["too_large"])
    message: str = Field(description="One sentence, with what to do.")
    request_id: str


class ErrorModel(BaseModel):
    """Any answer that is no success."""

    error: ErrorDetail


class ModelModel(BaseModel):
    """The model that answers."""

    name: str
    labels: list[str]
    input_size: int
    precision: str
    sha256: str
    views: list[str]
    threshold: float
    extra_data: list[str]
    licence: str


class ModelsModel(BaseModel):
    """All models of the service."""

    models: list[ModelModel]


class StatusModel(BaseModel):
    """Whether the service lives, or is ready."""

    status: str


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_SEVERAL: dict[str, Any] = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["data"],
                "properties": {"data": _BASE64, "name": {"type": ["string", "null"]}},
            },
        }
    },
}
_ONE: dict[str, Any] = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": _BASE64},
    "not": {"required": ["images"]},
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An image as the body, several in a form, or several in base64.",
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["image"],
                }
            },
            "application/json": {
                "schema": {"anyOf": [_SEVERAL, _ONE]},
                "example": {"images": [{"name": "a.jpg", "data": "/9j/4AAQSkZJRg…"}]},
            },
        },
    }
}
"""The bodies that `mien.serving.bodies` understands."""
