# SPDX-License-Identifier: Apache-2.0
"""Packages a `.pen` model for a place where Penlight is not installed."""

from penlight_mobile.packaging import PackageResult as PackageResult
from penlight_mobile.packaging import package as package
from penlight_mobile.packaging import targets as targets
