"""Export: a run → a bundle, with a parity report, quantisation and calibration. Needs the extra ``train``."""

from mien.export.bundling import Export, add_results, export_run

__all__ = ["Export", "add_results", "export_run"]
