# SPDX-License-Identifier: Apache-2.0
"""`python -m penlight_cli` is the same command as `penlight`."""

from penlight_cli.main import run

run()
