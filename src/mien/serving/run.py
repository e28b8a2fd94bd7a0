"""Start the service with uvicorn: one process or several, and a clean end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import replace

from mien.errors import InputError, MissingExtraError
from mien.serving.config import ENVIRONMENT, ServiceConfig
from mien.store import scratch_directory

_EXTRA = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")


def serve(
    config: ServiceConfig,
    *,
    open_page: str = "",
    say: Callable[[str], None] = lambda text: None,
    called: str = "mien serve",
) -> None:
    """Serve until a signal ends it; requests in work are answered first.

    Args:
        config: see `ServiceConfig`.
        open_page: path of a page that is opened in the browser once the service listens; empty: none.
        say: told the address once the service listens, by another thread.
        called: what the person asked for, in messages.

    Raises:
        InputError: the address cannot be listened on.
        MissingExtraError: without the extra ``serve``.
    """
    MissingExtraError.check(called, "serve", *_EXTRA)
    import uvicorn

    port = _free(config.host, config.port)
    config = replace(config, port=port)
    shown = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{shown}:{port}"

    def listening() -> None:
        say(address)
        if open_page:
            webbrowser.open(address + open_page)

    # A daemon: where the service ends before it listens, nobody is told.
    threading.Thread(target=_once_listening, args=(config.host, port, listening), daemon=True).start()
    os.environ[ENVIRONMENT] = config.to_json()
    with contextlib.ExitStack() as held:
        if config.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(held.enter_context(scratch_directory()))
        uvicorn.run(
            "mien.serving.app:from_environment",
            factory=True,
            host=config.host,
            port=port,
            workers=config.workers,
            log_config=log_config(),
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(config.seconds) + 1,
            timeout_keep_alive=15,
            limit_concurrency=4 * config.queue + 64,  # of connections, idle ones too
            ws_max_size=config.max_bytes,
            ws_max_queue=1,  # of messages that were read ahead: the page waits for its answer anyway
            h11_max_incomplete_event_size=64 << 10,
        )


def _free(host: str, port: int) -> int:
    """The port, or any free one for 0; an address that cannot be had is told before anything is loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}); choose another with --host or --port"
        ) from None


def _once_listening(host: str, port: int, then: Callable[[], None]) -> None:
    """Wait until somebody answers there; loading the networks takes a second, or many on a busy machine."""
    while True:
        try:
            # A service for every address of the machine is asked at its own.
            socket.create_connection(({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return then()


def log_config() -> dict[str, object]:
    """Everything to standard error, a line of JSON each."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "mien.serving.observation.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "json"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "uvicorn.error": {"level": "WARNING"},
            "mien.access": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }
