# SPDX-License-Identifier: Apache-2.0
"""ONNX in and out: importing, lowering traces, operator set versions."""
