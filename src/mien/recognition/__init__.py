"""Faces in, expressions out: the recogniser, its tables and its drawing. No torch here."""

from mien.recognition.expressions import Expressions, Face
from mien.recognition.recognizer import Recognizer

__all__ = ["Expressions", "Face", "Recognizer"]
