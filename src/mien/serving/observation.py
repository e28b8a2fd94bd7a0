"""What the service says about itself: one line of JSON per request, and figures for Prometheus. Never an image."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

access = logging.getLogger("mien.access")

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Figures:
    """Counters of one process, or of all workers where ``PROMETHEUS_MULTIPROC_DIR`` is set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mien_requests", "Answers by path and status", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mien_request_seconds",
            "From the first byte to the last",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.images = Counter("mien_images", "Images by outcome", ["status"], registry=self.registry)
        self.faces = Counter("mien_faces", "Faces recognised", registry=self.registry)
        self.batches = Histogram(
            "mien_batch_faces", "Faces classified together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.pending = Gauge(
            "mien_pending_images", "Images waiting or in work", registry=self.registry, multiprocess_mode="livesum"
        )

    def text(self) -> bytes:
        """In Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            shared = CollectorRegistry()
            multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
            return generate_latest(shared)
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """Log records as one line of JSON each."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's own fields, after time, level and message."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
