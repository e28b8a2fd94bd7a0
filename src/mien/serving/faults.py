"""What a client is told when something is wrong: a status, a type that programs read, and one sentence."""

from __future__ import annotations


class ServiceError(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        type: what programs tell apart.
        message: one sentence for people.
        retry_after: seconds after which asking again makes sense.
    """

    def __init__(self, status: int, type: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.type, self.message, self.retry_after = status, type, message, retry_after


TYPES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unusable_image",
    429: "busy",
    500: "internal",
    503: "timeout",
}
"""The usual type of each status."""


def overloaded() -> ServiceError:
    """Too many images are waiting."""
    return ServiceError(429, "busy", "too many images are waiting; ask again in a moment", retry_after=1)
