"""An image file or array → faces: decode, detect, crop. Needs NumPy, Pillow and, for the networks, onnxruntime."""

from mien.faces.crop import crop_faces
from mien.faces.decode import Limits, decode
from mien.faces.detect import Detections, Detector, open_detector
from mien.faces.inference import open_session

__all__ = ["Detections", "Detector", "Limits", "crop_faces", "decode", "open_detector", "open_session"]
