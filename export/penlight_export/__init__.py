# SPDX-License-Identifier: Apache-2.0
"""From a trained module, or any .onnx file, to ONNX and to the edge runtime's .pen, with proof that the numbers stayed the same."""

from penlight_export.compare import Divergence as Divergence
from penlight_export.compare import VerifyReport as VerifyReport
from penlight_export.compare import VerifyRow as VerifyRow
from penlight_export.convert import ConvertResult as ConvertResult
from penlight_export.convert import convert as convert
from penlight_export.errors import ExportError as ExportError
from penlight_export.errors import ExternalDataError as ExternalDataError
from penlight_export.errors import InvalidModelError as InvalidModelError
from penlight_export.errors import MissingFileError as MissingFileError
from penlight_export.errors import UnsupportedFeatureError as UnsupportedFeatureError
from penlight_export.errors import UnsupportedOperatorsError as UnsupportedOperatorsError
from penlight_export.errors import UnsupportedOpsetError as UnsupportedOpsetError
from penlight_export.errors import VerifyError as VerifyError
from penlight_export.export import Exported as Exported
from penlight_export.export import export as export
from penlight_export.imported import ImportedModule as ImportedModule
from penlight_export.imported import import_module as import_module
from penlight_export.methods import ExportedMethods as ExportedMethods
from penlight_export.methods import Method as Method
from penlight_export.methods import export_methods as export_methods
from penlight_export.onnx.importer import load_onnx as load_onnx
from penlight_export.summary import ModelSummary as ModelSummary
from penlight_export.summary import summarize as summarize
from penlight_export.verify import verify as verify
