# SPDX-License-Identifier: Apache-2.0
"""Models of classical machine learning (ai.onnx.ml) as graphs of ai.onnx, and one kernel of our own for trees."""

from penlight_export.onnx.ml.lower import lower_ml as lower_ml
from penlight_export.onnx.ml.zip_map import strip_zip_maps as strip_zip_maps
