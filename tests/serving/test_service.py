"""The HTTP service: what it answers, what it refuses, and that it says so in one way."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from mien.errors import InputError
from mien.recognition import Recognizer
from mien.serving import ServiceConfig
from mien.serving.admission import Admission
from mien.serving.app import create_app
from mien.serving.engine import Ask, Engine
from mien.serving.faults import ServiceError

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = (EXAMPLES / "astronaut.jpg").read_bytes()
TOKEN = "a-token-of-more-than-sixteen"


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(threads=1)


@pytest.fixture(scope="module")
def client(recognizer: Recognizer) -> Iterator[TestClient]:
    config = ServiceConfig(max_bytes=1 << 20, max_images=3, max_pixels=2_000_000)
    with TestClient(create_app(config, recognizer), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def guarded(recognizer: Recognizer) -> Iterator[TestClient]:
    config = ServiceConfig(token=TOKEN, origins=("https://friend.example",))
    with TestClient(create_app(config, recognizer), base_url="http://localhost") as client:
        yield client


def png(side: int = 60) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side), 120, np.uint8)).save(out, "PNG")
    return out.getvalue()


DATA = base64.b64encode(png()).decode()


def fault(response: object, status: int, type: str) -> str:
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    error = response.json()["error"]  # type: ignore[attr-defined]
    assert error["type"] == type
    assert error["request_id"] == response.headers["x-request-id"]  # type: ignore[attr-defined]
    assert "Traceback" not in response.text  # type: ignore[attr-defined]
    return str(error["message"])


def test_an_image_as_the_body(client: TestClient, recognizer: Recognizer) -> None:
    response = client.post("/v1/predict", content=PHOTO, headers={"content-type": "image/jpeg"})
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"] == recognizer.card.name
    (image,) = answer["images"]
    assert (image["status"], image["width"], image["height"]) == ("ok", 512, 512)
    assert image["faces"] == recognizer.predict(PHOTO).to_dicts()


WHOLE = {"file", "status", "width", "height", "faces"}


def test_several_in_a_form_each_with_its_own_status(client: TestClient) -> None:
    files = [("image", ("a.jpg", PHOTO)), ("image", ("empty.png", png())), ("image", ("b.txt", b"no image"))]
    images = client.post("/v1/predict", files=files).json()["images"]
    assert [(image["file"], image["status"]) for image in images] == [
        ("a.jpg", "ok"),
        ("empty.png", "no face"),
        ("b.txt", "error"),
    ]
    assert "no JPEG" in images[2]["message"]
    assert [set(image) for image in images] == [WHOLE, WHOLE, WHOLE | {"message"}]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="text.jpg"', "text.jpg"),
        ("attachment; filename*=UTF-8''m%C3%BCde%20%282%29.jpg", "müde (2).jpg"),
        ('attachment; filename="/etc/<b>.jpg"', "_b_.jpg"),
        ("inline", "image"),
        ('; filename*=utf-9;;="', "image"),
    ],
)
def test_a_body_is_called_by_its_own_name(client: TestClient, header: str, name: str) -> None:
    sent = {"content-type": "image/jpeg", "content-disposition": header}
    message = fault(client.post("/v1/predict", content=b"no image", headers=sent), 422, "unusable_image")
    assert message.startswith(f"{name} is no JPEG")
    assert client.post("/v1/predict", content=PHOTO, headers=sent).json()["images"][0]["file"] == name


def test_a_file_of_a_form_is_called_by_its_own_name(client: TestClient) -> None:
    response = client.post("/v1/predict", files=[("image", ("text.jpg", b"no image"))])
    assert fault(response, 422, "unusable_image").startswith("text.jpg is no JPEG")


def test_base64_in_json(client: TestClient) -> None:
    text = base64.b64encode(PHOTO).decode()
    long = client.post("/v1/predict", json={"images": [{"data": text, "name": "me.jpg"}]}).json()
    short = client.post("/v1/predict", json={"image": f"data:image/jpeg;base64,{text}"}).json()
    assert long["images"][0]["file"] == "me.jpg"
    assert long["images"][0]["faces"] == short["images"][0]["faces"]


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"images": [{"data": DATA}, {"data": DATA, "name": "a.jpg"}]}, True),
        ({"images": [{"data": DATA, "name": None}]}, True),
        ({"images": [{"data": DATA}], "image": 5, "more": 5}, True),
        ({"image": DATA}, True),
        ({"image": DATA, "images": 5}, False),
        ({"image": DATA, "images": None}, False),
        ({"image": None}, False),
        ({"images": [{"data": DATA}, {"data": DATA, "name": 5}]}, False),
        ({"images": [{"data": DATA}, {"data": None}]}, False),
        ({"images": [{"data": DATA}, {"name": "a.jpg"}]}, False),
        ({"images": [{"data": DATA}, DATA]}, False),
        ({"images": {"data": DATA}}, False),
        ({"images": []}, False),
        ([{"data": DATA}], False),
        ({}, False),
    ],
)
def test_a_body_of_json_is_taken_if_and_only_if_it_fits_the_description(
    body: object, fits: bool, client: TestClient
) -> None:
    jsonschema = pytest.importorskip("jsonschema_rs", reason="schemathesis brings it, and is not installed")
    content = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert jsonschema.Draft202012Validator(content["application/json"]["schema"]).is_valid(body) is fits
    response = client.post("/v1/predict", json=body)
    assert response.status_code == 200 if fits else fault(response, 400, "bad_request")


def test_crops_are_classified_without_a_detector(client: TestClient, recognizer: Recognizer) -> None:
    response = client.post("/v1/classify", content=png(48), headers={"content-type": "image/png"})
    (face,) = response.json()["images"][0]["faces"]
    assert face["box"] is None
    assert face["probabilities"].keys() == set(recognizer.label_set.labels)


def test_views_are_those_of_the_bundle(client: TestClient) -> None:
    assert client.post("/v1/predict?views=flip", content=PHOTO).status_code == 200
    assert "one" in fault(client.post("/v1/predict?views=none", content=PHOTO), 400, "bad_request")


def test_models_health_and_figures(client: TestClient, recognizer: Recognizer) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert model["sha256"] == recognizer.card.sha256
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/v1/predict", content=PHOTO)
    text = client.get("/metrics").text
    assert 'mien_requests_total{path="/v1/predict",status="200"}' in text
    assert "mien_faces_total" in text


def test_pages_load_nothing_from_elsewhere(client: TestClient) -> None:
    for page in ("/", "/live", "/docs"):
        response = client.get(page)
        assert response.status_code == 200
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "://" not in response.text.replace("http://localhost:8000", "")
        assert "<script>" not in response.text
        assert response.text.count("aria-current=page") == 1
    for name in ("shared/style.css", "shared/faces.js", "shared/image.js", "service.js", "live.js"):
        assert client.get(f"/pages/{name}").status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status", "type"),
    [
        (b"", "image/jpeg", 400, "bad_request"),
        (b"not an image", "image/jpeg", 422, "unusable_image"),
        (PHOTO[:4000], "image/jpeg", 422, "unusable_image"),
        (b"x" * (1 << 20) + b"x", "image/jpeg", 413, "too_large"),
        (PHOTO, "text/html", 415, "unsupported_media_type"),
        (b"{", "application/json", 400, "bad_request"),
        (b"[" * 100_000, "application/json", 400, "bad_request"),
        (b'{"images": [{"data": "***"}]}', "application/json", 400, "bad_request"),
        (b'{"images": [{"data": 5}]}', "application/json", 400, "bad_request"),
        (b'{"images": {}}', "application/json", 400, "bad_request"),
        (b'{"images": [{"data": "AA=="}, {}, {}, {}]}', "application/json", 413, "too_large"),
        (b"--x", "multipart/form-data", 400, "bad_request"),
        (b"--x", "multipart/form-data; boundary=x", 400, "bad_request"),
        (b"\xff" * 300, "multipart/form-data; boundary=y", 400, "bad_request"),
    ],
)
def test_bad_bodies_get_one_kind_of_answer(client: TestClient, body: bytes, kind: str, status: int, type: str) -> None:
    message = fault(client.post("/v1/predict", content=body, headers={"content-type": kind}), status, type)
    assert len(message) > 10


def test_a_huge_image_is_refused_before_it_is_decoded(client: TestClient) -> None:
    out = io.BytesIO()
    Image.new("L", (3000, 3000)).save(out, "PNG")
    assert "pixels" in fault(client.post("/v1/predict", content=out.getvalue()), 422, "unusable_image")


def test_names_are_repeated_without_harm(client: TestClient) -> None:
    files = [("image", ("../../<script>alert(1)</script>\n.jpg", PHOTO)), ("image", ("x", png()))]
    name = client.post("/v1/predict", files=files).json()["images"][0]["file"]
    assert not set(name) & set("<>/\n")


def test_unknown_paths_and_methods(client: TestClient) -> None:
    fault(client.get("/nothing"), 404, "not_found")
    fault(client.get("/v1/predict"), 405, "method_not_allowed")
    fault(client.get("/pages/../app.py"), 404, "not_found")


def test_other_names_of_this_machine_are_refused(client: TestClient) -> None:
    fault(client.get("/healthz", headers={"host": "evil.example"}), 400, "bad_request")
    assert client.get("/healthz", headers={"host": "127.0.0.1:8000"}).status_code == 200
    assert client.get("/healthz", headers={"host": "[::1]:8000"}).status_code == 200


def test_request_ids_are_kept_or_made(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = client.get("/healthz", headers={"x-request-id": "a b\n"}).headers["x-request-id"]
    assert len(made) == 32


def test_the_token_is_asked_for_and_compared_whole(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code == 200
    for sent in (None, "Bearer wrong", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer", "Bearer \u00fc"):
        headers = {} if sent is None else {"authorization": sent.encode("latin-1")}
        response = guarded.post("/v1/predict", content=PHOTO, headers=headers)
        fault(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    good = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/v1/predict", content=PHOTO, headers=good).status_code == 200
    fault(guarded.get("/metrics"), 401, "unauthorized")


def test_other_origins_may_ask_only_when_named(client: TestClient, guarded: TestClient) -> None:
    ask = {"origin": "https://friend.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/predict", headers=ask).headers
    allowed = guarded.options("/v1/predict", headers=ask)
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
    other = guarded.options("/v1/predict", headers={**ask, "origin": "https://else.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "0.0.0.0"},
        {"host": "192.168.1.5"},
        {"host": "::"},
        {"token": "short"},
        {"token": "mit umlaut äöü und lang genug"},
        {"port": 70000},
        {"queue": 0},
        {"seconds": 0},
    ],
)
def test_open_doors_and_odd_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ServiceConfig(**wrong)  # type: ignore[arg-type]


def test_a_configuration_survives_the_way_to_a_worker() -> None:
    config = ServiceConfig(host="0.0.0.0", token=TOKEN, origins=("https://a.example",), seconds=3.5)
    assert ServiceConfig.from_json(config.to_json()) == config
    assert config.allowed_hosts == ("*",)


class _Slow:
    """A recogniser whose detector waits until it is let go."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.go = threading.Event()
        self.card, self.label_set, self._recognizer = recognizer.card, recognizer.label_set, recognizer
        self.recognize_known, self.classify = recognizer.recognize_known, recognizer.classify

    def detect(self, pixels: object) -> object:
        assert self.go.wait(20)
        return self._recognizer.detect(pixels)  # type: ignore[arg-type]


def test_too_many_images_are_shed_and_the_accepted_ones_answered(recognizer: Recognizer) -> None:
    slow = _Slow(recognizer)
    engine = Engine(ServiceConfig(queue=3), slow)  # type: ignore[arg-type]

    async def ask() -> tuple[list[object], str]:
        asks = [asyncio.ensure_future(engine.recognize([Ask(PHOTO, str(n))])) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceError) as refused:
            await engine.recognize([Ask(PHOTO, "4")])
        slow.go.set()
        return await asyncio.gather(*asks), refused.value.type

    answers, type = asyncio.run(ask())
    assert type == "busy"
    assert [len(faces) for (faces,) in answers] == [1, 1, 1]  # type: ignore[misc]
    assert engine.pending == 0
    engine.close()


def test_requests_that_take_too_long_are_told_so(recognizer: Recognizer) -> None:
    slow = _Slow(recognizer)
    engine = Engine(ServiceConfig(), slow)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="too long"):
        asyncio.run(engine.recognize([Ask(PHOTO, "a", deadline=time.monotonic() + 0.1)]))
    slow.go.set()
    engine.close()
    assert engine.pending == 0


def test_a_body_that_drips_is_cut_off_and_its_room_given_back(recognizer: Recognizer) -> None:
    app = create_app(ServiceConfig(seconds=0.3), recognizer)
    scope = {
        "type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"image/jpeg")], "scheme": "http",
        "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("localhost", 80), "root_path": "",
    }  # fmt: skip
    sent: list[dict[str, object]] = []

    async def drip() -> dict[str, object]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    began = time.monotonic()
    asyncio.run(app(scope, drip, send))  # type: ignore[arg-type]
    assert time.monotonic() - began < 2
    assert sent[0]["status"] == 408


def test_only_so_many_bytes_are_received_at_once() -> None:
    admission = Admission(ServiceConfig(max_bytes=100, max_held=250))
    with admission.bodies("100"), admission.bodies(None):
        assert admission.held == 200
        with pytest.raises(ServiceError, match="waiting"), admission.bodies("60"):
            pass
        with admission.bodies("50"):
            pass
    assert admission.held == 0


def test_pixels_that_wait_for_the_network_are_bounded(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.serving import engine as module

    monkeypatch.setattr(module, "HELD_PIXELS", 512 * 512)
    engine = Engine(ServiceConfig(), recognizer)

    async def ask() -> list[object]:
        return await asyncio.gather(*(engine.recognize([Ask(PHOTO, str(n))]) for n in range(6)))

    assert [len(faces) for (faces,) in asyncio.run(ask())] == [1] * 6  # type: ignore[misc]
    engine.close()
    assert engine._held._held == 0


def test_faces_of_several_requests_share_a_batch(recognizer: Recognizer) -> None:
    sizes: list[int] = []
    slow = _Slow(recognizer)
    engine = Engine(ServiceConfig(), slow, sizes.append)  # type: ignore[arg-type]

    async def ask() -> None:
        crops = [asyncio.ensure_future(engine.recognize([Ask(png(), str(n), crop=True)])) for n in range(12)]
        await asyncio.gather(*crops)

    asyncio.run(ask())
    engine.close()
    assert sum(sizes) == 12
    assert max(sizes) > 1


def test_a_fault_of_ours_tells_the_client_nothing(
    recognizer: Recognizer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(ServiceConfig(), recognizer)

    async def broken(asks: object) -> object:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(app.state.engine, "recognize", broken)
    monkeypatch.setattr(logging.getLogger("mien.access"), "propagate", True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        response = client.post("/v1/predict", content=PHOTO)
    assert "secret" not in fault(response, 500, "internal")
    assert "secret detail" in caplog.text


def test_live_frames_keep_their_numbers(client: TestClient) -> None:
    with client.websocket_connect(
        "ws://localhost/v1/live", subprotocols=["mien"], headers={"origin": "http://localhost"}
    ) as socket:
        for _ in range(3):
            socket.send_bytes(PHOTO)
            answer = socket.receive_json()
            assert [face["track_id"] for face in answer["faces"]] == [1]
        socket.send_bytes(b"no image")
        assert socket.receive_json()["error"]["type"] == "unusable_image"
        socket.send_bytes(PHOTO)
        assert socket.receive_json()["faces"]


def test_live_frames_share_the_room_of_all_bodies(recognizer: Recognizer) -> None:
    app = create_app(ServiceConfig(max_held=len(PHOTO) + 10, max_bytes=1 << 20), recognizer)
    with TestClient(app) as client, client.websocket_connect("ws://localhost/v1/live") as socket:
        with app.state.admission.bodies("11"):
            socket.send_bytes(PHOTO)
            assert socket.receive_json()["error"]["type"] == "busy", "dropped, not queued"
        socket.send_bytes(PHOTO)
        assert socket.receive_json()["faces"]
        assert app.state.admission.held == 0


@pytest.mark.parametrize(
    ("headers", "protocols"),
    [
        ({"origin": "https://evil.example"}, ["mien"]),
        ({"origin": "http://localhost:9999"}, ["mien"]),
        ({"host": "evil.example", "origin": "http://evil.example"}, ["mien"]),
        ({"origin": "http://localhost"}, ["mien"]),
        ({"origin": "http://localhost"}, ["mien", "token.wrong"]),
    ],
)
def test_live_is_closed_to_strangers(guarded: TestClient, headers: dict[str, str], protocols: list[str]) -> None:
    with guarded.websocket_connect("ws://localhost/v1/live", subprotocols=protocols, headers=headers) as socket:
        with pytest.raises(WebSocketDisconnect) as refused:
            socket.receive_json()
        assert refused.value.code == 4401


def test_live_opens_with_the_token(guarded: TestClient) -> None:
    with guarded.websocket_connect("ws://localhost/v1/live", subprotocols=["mien", f"token.{TOKEN}"]) as socket:
        socket.send_bytes(PHOTO)
        assert socket.receive_json()["faces"]


def test_live_pages_are_bounded(recognizer: Recognizer) -> None:
    app = create_app(ServiceConfig(live=1), recognizer)
    with (
        TestClient(app, base_url="http://localhost") as client,
        client.websocket_connect("ws://localhost/v1/live") as first,
    ):
        first.send_bytes(PHOTO)
        first.receive_json()
        with (
            client.websocket_connect("ws://localhost/v1/live") as second,
            pytest.raises(WebSocketDisconnect) as refused,
        ):
            second.receive_json()
        assert refused.value.code == 4429
        first.send_text("hello")
        with pytest.raises(WebSocketDisconnect):
            first.receive_json()


def test_the_description_fits_the_answers(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    body = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= body.keys()
    assert {"400", "401", "413", "415", "422", "429", "503"} <= described["paths"]["/v1/predict"]["post"][
        "responses"
    ].keys()
    json.dumps(described)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=400),
    st.sampled_from(
        [
            "image/png",
            "application/json",
            "multipart/form-data; boundary=a",
            "application/octet-stream",
            "text/plain",
            "x",
        ]
    ),
)
def test_whatever_is_sent_gets_a_typed_answer(client: TestClient, body: bytes, kind: str) -> None:
    response = client.post("/v1/predict", content=body, headers={"content-type": kind})
    assert response.status_code in (200, 400, 413, 415, 422)
    assert "images" in response.json() or response.json()["error"]["type"]


def test_the_examples_of_the_guide_work() -> None:
    """The service as two processes, asked with curl and with the client of the examples; ended by a signal."""
    photo = str(EXAMPLES / "astronaut.jpg")
    environment = {**os.environ, "MIEN_TOKEN": TOKEN}
    command = [sys.executable, "-u", "-m", "mien", "serve", "--port", "0", "--workers", "2"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert service.stderr is not None
        address = service.stderr.readline().split()[0]
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/readyz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        client = [sys.executable, str(EXAMPLES / "client.py"), address, photo]
        told = subprocess.run(client, capture_output=True, text=True, env=environment)
        assert told.stdout.split()[1] == "happy", told.stderr
        refused = subprocess.run(client, capture_output=True, text=True, env={**environment, "MIEN_TOKEN": "x" * 20})
        assert "token" in refused.stderr
        if shutil.which("curl"):
            curl = ["curl", "-s", "-F", f"image=@{photo}", f"{address}/v1/predict"]
            sent = subprocess.run([*curl, "-H", f"Authorization: Bearer {TOKEN}"], capture_output=True, text=True)
            assert json.loads(sent.stdout)["images"][0]["faces"][0]["label"] == "happy"
        figures = urllib.request.Request(f"{address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(figures, timeout=5) as response:
            assert b"mien_requests_total" in response.read()
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=30)


def test_the_address_is_said_once_it_answers() -> None:
    command = [sys.executable, "-u", "-m", "mien", "live", "--no-browser"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert service.stderr is not None
        address = service.stderr.readline().split()[0]
        with urllib.request.urlopen(address, timeout=30) as response:
            assert response.status == 200
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=30)
