"""What every request passes: its id, the token, the length it announces, the clock, the log, and no traceback."""

from __future__ import annotations

import hmac
import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from mien.serving.bodies import too_large
from mien.serving.faults import TYPES, ServiceError
from mien.serving.observation import Figures, access

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mien.serving.config import ServiceConfig

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/", "/healthz", "/readyz", "/live", "/docs", "/openapi.json")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
POLICY = (
    b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Pages load nothing from anywhere else."""


class Gate:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp, config: ServiceConfig, figures: Figures) -> None:
        self.app, self.config, self.figures = app, config, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, status, begun = time.perf_counter(), 500, False

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                extra = [*_HEADERS, (b"x-request-id", request_id.encode())]
                if any(key == b"content-type" and b"html" in value for key, value in message["headers"]):
                    extra.append((b"content-security-policy", POLICY))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            self._check(scope["method"], scope["path"], headers)
            await self.app(scope, receive, sending)
        except ServiceError as error:
            await _answer(sending, error, request_id)
        except Exception:
            # The client learns that it is our fault, the log learns why.
            access.exception("a request failed", extra={"fields": {"request_id": request_id, "path": scope["path"]}})
            if not begun:
                await _answer(
                    sending, ServiceError(500, "internal", "the service failed; its log says why"), request_id
                )
        finally:
            spent = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self.figures.requests.labels(route, str(status)).inc()
            self.figures.seconds.labels(route).observe(spent)
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(1e3 * spent, 2),
                **scope["state"].get("log", {}),
            }
            access.info("request", extra={"fields": fields})

    def _check(self, method: str, path: str, headers: dict[str, str]) -> None:
        if not known_host(headers.get("host", ""), self.config):
            raise ServiceError(400, "bad_request", "this service is not called by that name; see --allowed-host")
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18 or int(length) > self.config.max_bytes:
            raise too_large(self.config)
        if self.config.token and method != "OPTIONS" and path not in _OPEN and not path.startswith("/pages/"):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(token.strip().encode(), self.config.token.encode())
            if scheme.lower() != "bearer" or not known:
                raise ServiceError(401, "unauthorized", "send the service's token: Authorization: Bearer <token>")


def known_host(host: str, config: ServiceConfig) -> bool:
    """Whether a Host header names this service; a page elsewhere that was given its address does not know the name.

    Example:
        >>> from mien.serving import ServiceConfig
        >>> known_host("localhost:8000", ServiceConfig()), known_host("example.org", ServiceConfig())
        (True, False)
    """
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return "*" in config.allowed_hosts or name.lower() in config.allowed_hosts


async def _answer(send: Send, error: ServiceError, request_id: str) -> None:
    content, headers = error_content(error, request_id)
    body = json.dumps(content).encode()
    start: dict[str, Any] = {"type": "http.response.start", "status": error.status}
    plain = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start["headers"] = plain + [(key.encode(), value.encode()) for key, value in headers.items()]
    await send(start)
    await send({"type": "http.response.body", "body": body})


def error_content(error: ServiceError, request_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The JSON of an error and its headers."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    named = error.type or TYPES.get(error.status, "error")
    return {"error": {"type": named, "message": error.message, "request_id": request_id}}, headers
