"""From a torch network to an ONNX graph with inputs and outputs as a bundle wants them."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mien.errors import MissingExtraError, RunError
from mien.training.compute.quiet import quietly

if TYPE_CHECKING:
    from mien.bundle import InputSpec
    from mien.systems.base import System

OPSET = 18


class _WithEmbedding(nn.Module):
    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.system.embed(images)
        return self.system.head(embedding), embedding


def to_onnx(system: System, spec: InputSpec) -> bytes:
    """An ONNX model of ``system`` in evaluation mode.

    Its input is ``input``, float32 (N, channels, size, size); its outputs are ``logits``, float32 (N, classes), and
    ``embedding``, float32 (N, D), where the system has penultimate features. N is free.

    Raises:
        RunError: PyTorch cannot write it as a graph: an operator has no counterpart or a branch hangs on values.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("export", "train") from None
    module = system.cpu().float().eval()
    example = torch.zeros(2, spec.channels, spec.size, spec.size)
    has_embedding = type(system).embed is not _base_embed() and hasattr(system, "head")
    wrapped: nn.Module = _WithEmbedding(module) if has_embedding else module
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quietly("onnxscript", "torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            program = torch.onnx.export(
                wrapped,
                (example,),
                input_names=["input"],
                output_names=["logits", "embedding"] if has_embedding else ["logits"],
                dynamic_shapes=({0: torch.export.Dim("faces", min=1, max=1 << 20)},),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except Exception as error:  # the exporter raises what any step of it raises
            raise RunError(_reason(system, error)) from error
    assert program is not None
    proto = program.model_proto
    # Traces of the exporting machine (file names, stack traces) have no business in a released file.
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    proto.graph.ClearField("metadata_props")
    proto.graph.name = "mien"
    onnx.checker.check_model(proto)
    model: bytes = proto.SerializeToString()
    return model


def _reason(system: System, error: BaseException) -> str:
    """The first cause in one line: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return (
        f"{system.card.id} cannot be written as an ONNX graph ({said[:200]}); nothing was written. "
        "`mien evaluate` measures its run folder as it is"
    )


def _base_embed() -> object:
    from mien.systems.base import System

    return System.embed
