"""Write down which faces of FER2013 are one photograph: ``python -m mien.audit.photographs``. For maintainers.

The pairs that the audit finds (near copies, and one photograph cut out differently) become packaged facts beside the
exact copies, so that `clean@2` can be computed by everybody, without pixels. Equal data give equal bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.audit import copies
from mien.audit.pictures import Pictures, from_face_set
from mien.datasets import load_dataset
from mien.errors import DataError
from mien.results import facts
from mien.results.arrays import write_arrays


def main(argv: list[str] | None = None) -> None:
    """Find the pairs in FER2013, imported before or named on the command line, and write the facts."""
    arguments = sys.argv[1:] if argv is None else argv
    pictures = from_face_set(load_dataset("fer2013", arguments[0] if arguments else None))
    if pictures.facts is None:
        raise DataError("this copy differs from the official FER2013; the facts are about that one")
    write_arrays(Path(facts.__file__).with_name("fer2013_photographs.npz"), {"pairs": photographs(pictures)})


def photographs(pictures: Pictures) -> NDArray[np.int32]:
    """Pairs of faces that are one photograph, exact copies apart: int32 (P, 2), ascending.

    Of each group of exact copies only the first row is named.
    """
    _, _, near = copies.near(pictures)
    finding, _ = copies.recut(pictures, near)
    listed = near.scores >= copies.NEAR
    known = np.column_stack([near.first[listed], near.second[listed]])
    recut = np.array([[int(face.id) for face in entry.faces] for entry in finding.entries]).reshape(-1, 2)
    return np.unique(np.sort(np.concatenate([known, recut]), axis=1), axis=0).astype(np.int32)


if __name__ == "__main__":
    main()
