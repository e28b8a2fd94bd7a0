"""One module per file layout in which FER2013 travels; each yields a `FaceTable`."""

from mien.datasets.readers.table import Bytes, FaceTable, Progress

__all__ = ["Bytes", "FaceTable", "Progress"]
