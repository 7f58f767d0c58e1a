# SPDX-License-Identifier: Apache-2.0
"""Model server: the Open Inference Protocol over HTTP, on onnxruntime and the edge runtime."""

from penlight_serving.app import App as App
from penlight_serving.app import create_app as create_app
from penlight_serving.errors import ServingError as ServingError
from penlight_serving.errors import error_classes as error_classes
from penlight_serving.models import Models as Models
from penlight_serving.models import load_models as load_models
from penlight_serving.options import Options as Options
from penlight_serving.serve import Running as Running
from penlight_serving.serve import running_server as running_server
from penlight_serving.serve import serve as serve
