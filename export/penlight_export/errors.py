# SPDX-License-Identifier: Apache-2.0
"""Errors of export, import and verification. Each class is one code of the table; its docstring is the explanation of the code."""

from penlight.errors import PenlightError


class ExportError(PenlightError):
    """A model could not be converted. Subclasses say why; this code is used when none of them fits."""

    code = "PL-E2000"
    exit_code = 3


class MissingFileError(ExportError, FileNotFoundError):
    """A model file does not exist, or is a folder or cannot be read. Check the path."""

    code = "PL-E2001"

    def __str__(self) -> str:  # OSError prints an errno in front
        return str(self.args[0]) if self.args else ""


class InvalidModelError(ExportError, ValueError):
    """A file is no valid ONNX model: empty, truncated, of another format, or it breaks a rule of the ONNX checker.

    Export the model again, and check that the download or copy was complete.
    """

    code = "PL-E2002"


class ExternalDataError(ExportError, ValueError):
    """The weights beside an .onnx file are missing, too short, or lie outside of the model's folder.

    A model file is data from somebody: it may name only regular files below its own folder, never absolute paths, `..`,
    symbolic links or hard links. Put the weight file next to the model.
    """

    code = "PL-E2003"


class UnsupportedOpsetError(ExportError, NotImplementedError):
    """The model uses an ONNX operator set outside of the supported range, or one of an unknown domain.

    Export it again at one of the supported versions (see the message).
    """

    code = "PL-E2004"


class UnsupportedOperatorsError(ExportError, NotImplementedError):
    """The model uses operators that cannot be converted; the message lists all of them with the nodes that use them.

    Replace them in the model, or express them through supported operators. `python -m penlight.ops` prints the support table.
    """

    code = "PL-E2005"


class UnsupportedFeatureError(ExportError, NotImplementedError):
    """The model uses a part of ONNX, beside operators, that the target cannot hold.

    These are subgraphs of operators other than If, Loop and Scan, sequences, sparse or string tensors, and element types without a
    kernel. The message names the value or node.
    """

    code = "PL-E2006"


class OptionError(ExportError, ValueError):
    """An argument of an export function is wrong, such as a file suffix, a dynamic dimension or an operator set version."""

    code = "PL-E2007"
    exit_code = 2


class PassError(ExportError, RuntimeError):
    """A graph pass broke its own post-condition. This is a defect of Penlight: export with `passes=()` and report it."""

    code = "PL-E2008"
    exit_code = 5


class VerifyError(ExportError, ArithmeticError):
    """Two engines that should agree gave different numbers, so nothing was written.

    The message names the worst output and the first layer that differs. Look there for results that depend on the machine, or
    raise `tolerance` when the difference is expected.
    """

    code = "PL-E2009"
    exit_code = 1


class EngineError(ExportError, RuntimeError):
    """An engine (onnxruntime or the edge runtime) refused or failed to run a model during verification; its own message follows."""

    code = "PL-E2010"
    exit_code = 1


class ImportedNodeError(ExportError, ValueError):
    """A node of an imported model refused its inputs: their sizes or dtypes do not fit, or it is used in a way that the framework
    does not compute.

    The message names the node and holds the operator's own words. Check the inputs' shapes against the file
    (`penlight inspect model.onnx`); run the file on onnxruntime when it is the operator's form that is missing.
    """

    code = "PL-E2011"


class ChangedWeightsError(ExportError, RuntimeError):
    """A model was trained on, or its weights were changed, between its export and the save of the export.

    An export holds no second copy of the weights, and a file of other weights than those that were compared is not written.
    Export again after the change, or save before it.
    """

    code = "PL-E2012"
