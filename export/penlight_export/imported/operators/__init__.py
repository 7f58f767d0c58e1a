# SPDX-License-Identifier: Apache-2.0
"""ONNX operators by the framework's, one small function for each, in families."""
