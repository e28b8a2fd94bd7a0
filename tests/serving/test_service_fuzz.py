"""The service against its own description, and against whatever else comes: no crash, no hang, no traceback told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.specs.openapi import checks  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from mien.serving import ServiceConfig  # noqa: E402
from mien.serving.app import create_app  # noqa: E402

pytestmark = pytest.mark.full
PORTRAIT = (Path(__file__).parents[2] / "examples" / "astronaut.jpg").read_bytes()
APP = create_app(ServiceConfig(hosts=("*",), max_bytes=1 << 20, max_pixels=1_000_000, seconds=10))


async def started(scope: Any, receive: Any, send: Any) -> None:
    """The application without its beginning and end, which schemathesis would go through for each request."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await APP(scope, receive, send)


APP.state.engine.ready = True
schema = schemathesis.openapi.from_asgi("/openapi.json", started)


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_those_of_the_description(case: Any) -> None:
    # No schema can say that a string of bytes is a photograph: what fits the description may be refused all the same.
    response = case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])
    assert "Traceback" not in response.text
    assert response.headers["x-request-id"][0]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(ServiceConfig(max_bytes=1 << 20, seconds=10)), base_url="http://localhost") as client:
        yield client


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A photograph with a few bytes changed, cut off or doubled: what gets past the first look."""
    data = bytearray(PORTRAIT)
    for _ in range(draw(st.integers(1, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)))])


_FORMS = st.sampled_from(
    [
        ("image/jpeg", lambda data: data),
        ("application/json", lambda data: json.dumps({"image": data.hex()}).encode()),
        ("application/json", lambda data: b'{"images": [' + data[:200] + b"]}"),
        ("application/json", lambda data: b"[" * 5000 + data[:50]),
        (
            "multipart/form-data; boundary=b",
            lambda data: b'--b\r\nContent-Disposition: form-data; filename="' + data[:60] + b'"\r\n\r\n' + data,
        ),
        ("multipart/form-data; boundary=b", lambda data: data),
        ("multipart/form-data", lambda data: b"--b\r\n" + data),
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(damaged(), st.binary(max_size=2000)), _FORMS, st.sampled_from(["/v1/predict", "/v1/classify"]))
def test_damaged_bodies_get_a_typed_answer(client: TestClient, data: bytes, form: Any, path: str) -> None:
    kind, body = form
    response = client.post(path, content=body(data), headers={"content-type": kind})
    assert response.status_code in (200, 400, 413, 415, 422), response.text
    told = response.json()
    assert ("images" in told) != ("error" in told)
    assert "Traceback" not in response.text
    assert "/src/mien" not in response.text


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.binary(max_size=500), damaged(), st.text(max_size=50)), max_size=5))
def test_whatever_comes_by_the_websocket_is_answered_or_closed(client: TestClient, messages: list[bytes | str]) -> None:
    before = threading.active_count()
    with client.websocket_connect("/v1/live", headers={"host": "localhost"}) as socket:
        try:
            for message in messages:
                if isinstance(message, str):
                    socket.send_text(message)
                else:
                    socket.send_bytes(message)
                told = socket.receive_json()
                assert ("faces" in told) != ("error" in told)
                assert "Traceback" not in json.dumps(told)
        except WebSocketDisconnect as closed:
            assert (closed.code, type(message)) == (1003, str)  # noqa: PT017 - it may come or not
    assert threading.active_count() <= before + 4
    assert client.get("/healthz").json() == {"status": "ok"}
