# SPDX-License-Identifier: Apache-2.0
"""The command line of Penlight: one module per verb in `commands`, worked examples in `recipes`."""
