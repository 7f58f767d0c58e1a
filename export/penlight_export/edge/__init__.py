# SPDX-License-Identifier: Apache-2.0
"""The .pen file: writer, reader and what the edge runtime supports."""
