"""Write hsemotion-onnx's default architecture with random weights: speed is the same, answers mean nothing."""

from __future__ import annotations

import sys
import warnings

import timm
import torch

warnings.simplefilter("ignore")
network = timm.create_model("tf_efficientnet_b0", num_classes=8, exportable=True).eval()
torch.onnx.export(
    network,
    (torch.zeros(1, 3, 224, 224),),
    sys.argv[1],
    input_names=["input"],
    output_names=["output"],
    dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
    dynamo=False,
)
