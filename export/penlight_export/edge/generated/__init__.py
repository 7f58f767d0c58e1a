# SPDX-License-Identifier: Apache-2.0
"""Code written by runtime/tools/regenerate_schema.py from runtime/schema/pen.fbs; never edited by hand."""
