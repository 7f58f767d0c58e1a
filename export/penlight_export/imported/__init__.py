# SPDX-License-Identifier: Apache-2.0
"""An .onnx file as a module of the framework: to fine-tune, to export again, to look at."""

from penlight_export.imported.build import import_module as import_module
from penlight_export.imported.build import module_of as module_of
from penlight_export.imported.module import ImportedModule as ImportedModule
