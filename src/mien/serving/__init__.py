"""The recogniser as an HTTP service and as pages in a browser. Needs the extra ``serve``."""

from mien.serving.config import ServiceConfig

__all__ = ["ServiceConfig"]
