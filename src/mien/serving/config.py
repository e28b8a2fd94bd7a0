"""How a service is set up: where it listens, who may ask, and how much."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass
from typing import Any

from mien.errors import InputError

ENVIRONMENT = "MIEN_SERVICE"
"""Variable by which worker processes learn their configuration."""


@dataclass(frozen=True)
class ServiceConfig:
    """Bounds and doors of a service. Plain values, so that worker processes get it as JSON.

    Args:
        host: address to listen on.
        port: 0 lets the system choose.
        workers: processes.
        token: who asks has to send it (``Authorization: Bearer …``); empty: nobody has to.
        anonymous: listen beyond this machine without a token.
        origins: web pages of other origins that may ask (CORS); none by default.
        hosts: names by which the service may be called; by default this machine's own where it listens on loopback
            (so that no web page reaches it under a name of its own), any name elsewhere.
        model: a bundle; empty: the one in the package.
        detector: as for `mien.Recognizer`.
        max_bytes: of one request's body.
        max_pixels: of one image.
        max_images: in one request.
        max_faces: in one image.
        seconds: that a request may take before it is answered with 503, and that its body may take to arrive before
            it is answered with 408.
        queue: images that may be waiting or in work; more are answered with 429.
        max_held: bytes of all bodies that are being received or worked on; more are answered with 429.
        batch: faces that are classified together at most.
        live: live pages at the same time.

    Raises:
        InputError: a value that makes no sense, or an open door without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str = ""
    anonymous: bool = False
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    model: str = ""
    detector: str = "centerface"
    max_bytes: int = 20 << 20
    max_pixels: int = 50_000_000
    max_images: int = 16
    max_faces: int = 500
    seconds: float = 15.0
    queue: int = 64
    max_held: int = 256 << 20
    batch: int = 64
    live: int = 4

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "max_bytes",
            "max_pixels",
            "max_images",
            "max_faces",
            "queue",
            "max_held",
            "batch",
            "live",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 <= self.port < 65536:
            raise InputError(f"a port lies in 0–65535, not {self.port}")
        if not self.seconds > 0:
            raise InputError(f"seconds is above 0, not {self.seconds}")
        if self.token and (len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable()):
            raise InputError("a token has at least 16 printable characters; make one with: openssl rand -hex 32")
        if not self.is_loopback and not self.token and not self.anonymous:
            raise InputError(
                f"{self.host} is reached from other machines: set a token (MIEN_TOKEN or --token-file), "
                "or say --anonymous if everybody there may ask"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names that a request's Host may have; ``*`` for any."""
        own = ("localhost", "127.0.0.1", "[::1]", self.host) if self.is_loopback else ("*",)
        return self.hosts or own

    def to_json(self) -> str:
        """For the environment of a worker process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServiceConfig:
        """The inverse of `to_json`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        return cls(**values)
