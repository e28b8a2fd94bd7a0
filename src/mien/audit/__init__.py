"""Look through data sets for copies, leaks, blank pictures and doubtful labels, and through training pictures for test
faces. Nothing here trains anything or scores anything on a test split.
"""

from mien.audit.finding import Entry, Face, Finding, Table
from mien.audit.leaks import Matches, leaks, match
from mien.audit.pictures import Pictures, from_face_set, read_pictures
from mien.audit.report import AuditReport, audit

__all__ = [
    "AuditReport",
    "Entry",
    "Face",
    "Finding",
    "Matches",
    "Pictures",
    "Table",
    "audit",
    "from_face_set",
    "leaks",
    "match",
    "read_pictures",
]
