# SPDX-License-Identifier: Apache-2.0
"""One module per verb of the command line; each holds a function of the same name, which returns an `output.Result`."""
