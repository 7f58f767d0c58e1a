# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages about models; their scripts and styles are the files in `assets`."""
