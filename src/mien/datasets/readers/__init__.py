"""One module per file layout in which FER2013 travels; each yields a `FaceTable`."""

from mien.datasets.readers.table import FaceTable, Progress

__all__ = ["FaceTable", "Progress"]
