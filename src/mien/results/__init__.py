"""Results that anybody can recompute: protocols, metrics, statistics, the schema, the ledger, verification.

NumPy is all it needs. A result is made by ``mien.evaluate``, saved with its predictions, and checked by `verify`.
"""

from __future__ import annotations

from mien.results.ledger import Ledger, Opening
from mien.results.protocols import Answers, Protocol
from mien.results.schema import Result
from mien.results.verification import Finding, Verification, difference, load_all, measured_differs, verify

__all__ = [
    "Answers",
    "Finding",
    "Ledger",
    "Opening",
    "Protocol",
    "Result",
    "Verification",
    "difference",
    "load_all",
    "measured_differs",
    "verify",
]
