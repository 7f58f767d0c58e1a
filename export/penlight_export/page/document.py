# SPDX-License-Identifier: Apache-2.0
"""Puts data, styles and scripts into one HTML file that needs no network and runs nothing but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("dom", "format", "model", "layout", "scene", "view", "details", "charts")  # what every page needs, in this order
_PAGES = {"inspect": ("memory", "tables", "inspect"), "verify": ("tables", "verify")}


def write_page(title: str, kind: str, data: Mapping[str, Any]) -> bytes:
    """The whole page as UTF-8.

    Args:
        title: of the window; any text.
        kind: "inspect" or "verify".
        data: plain values; texts may come from files that nobody trusts. NaN and infinities become texts.
    """
    script = '"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in (*_SCRIPTS, *_PAGES[kind]))
    style = _asset("page.css")
    parts = {
        "title": escape(title),
        "policy": f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "data": to_script_json(data),
        "script": script,
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))  # one pass: data may look like a mark
    return page.encode("utf-8")


def to_script_json(data: Any) -> str:
    """JSON that cannot end the script element that it stands in, whatever its texts hold."""
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":"))  # ASCII: lone surrogates stay escapes
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(value: Any) -> Any:
    """Lists, dicts, texts and finite numbers; NaN and infinities become texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
