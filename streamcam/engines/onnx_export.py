"""Export stages to ONNX in their own dtypes, for compilers that take them from there."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from streamcam.engines.flat_stage import FlatStage
from streamcam.engines.float8 import ROUND_TO_FLOAT8, round_to_float8_in_onnx

OPSET = 19
"""Of ONNX; the oldest with float8, so that older parsers know it."""
OUTPUT = "output"


def export(flat: FlatStage, inputs: Sequence[Tensor], file: Path) -> None:
    """Write `flat` as ONNX for exactly these shapes: ``input_0``, ``input_1``, … to ``output``."""
    with _silenced_export(), torch.inference_mode(False), torch.no_grad():
        program = torch.export.export(flat, tuple(inputs))
        _insert_casts(program)
        torch.onnx.export(
            program,
            (),
            str(file),
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"input_{i}" for i in range(len(inputs))],
            output_names=[OUTPUT],
            # The weights in a separate file: ONNX itself is limited to 2 GB.
            external_data=True,
            custom_translation_table={ROUND_TO_FLOAT8: round_to_float8_in_onnx},
            verbose=False,
        )


def _insert_casts(program: torch.export.ExportedProgram) -> None:
    """Make torch's implicit casts explicit: concatenation of two dtypes gives the wider one.

    ONNX concatenates tensors of one dtype only, and the exporter adds no casts.
    """
    aten = torch.ops.aten
    for node in list(program.graph.nodes):
        if node.target in (aten.cat.default, aten.concat.default):
            wider = node.meta["val"].dtype
            for part in [each for each in node.args[0] if each.meta["val"].dtype != wider]:
                with program.graph.inserting_before(node):
                    cast = program.graph.call_function(
                        aten._to_copy.default, (part,), {"dtype": wider}
                    )
                cast.meta["val"] = part.meta["val"].to(wider)
                node.replace_input_with(part, cast)


@contextmanager
def _silenced_export() -> Iterator[None]:
    """Silence the warnings of an export, which are meant for the authors of models."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
