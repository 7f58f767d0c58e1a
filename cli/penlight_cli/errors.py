# SPDX-License-Identifier: Apache-2.0
"""The errors of the command line, each declared once with its code and explanation.

The docstring of a class is its explanation: `penlight explain PL-E5003` prints it.
"""

from __future__ import annotations

from typing import Any


class CliError(Exception):
    """The command met something it did not expect.

    This is a defect of Penlight: run again with `--debug` and report what it prints.
    """

    code = "PL-E5000"
    exit_code = 1


class UsageProblem(CliError):
    """The command was called with an unknown verb, option or name, or with options that do not go together.

    The message names the nearest one; `penlight VERB --help` shows all options with an example.
    """

    code = "PL-E5001"
    exit_code = 2


class InputMissing(CliError):
    """A file or folder given on the command line is not there or cannot be read. Check the path and its permissions."""

    code = "PL-E5002"
    exit_code = 3


class InputFormat(CliError):
    """A file given on the command line is empty, truncated, damaged, or of a format that this command does not take.

    The message says which formats it takes. Copy the file again from its source, or convert it.
    """

    code = "PL-E5003"
    exit_code = 3


class InputValue(CliError):
    """The values, the shape or the dtype of an input do not fit what the model declares; numbers are never cast silently.

    `penlight inspect MODEL` prints the declared inputs. `--cast` converts the dtype on request; `--allow-nan` lets NaN through.
    """

    code = "PL-E5004"
    exit_code = 3


class MissingDependency(CliError):
    """Something that this command needs is not installed: an optional extra, a compiler or a device.

    The message holds the line that installs it; `penlight doctor` lists what is there and what is not.
    """

    code = "PL-E5005"
    exit_code = 4


class OutputFailed(CliError):
    """A result could not be written: the disk is full, or the folder is missing or not writable.

    What was there before is unchanged.
    """

    code = "PL-E5006"
    exit_code = 3


class CheckFailed(CliError):
    """A check that this command makes did not hold: two engines disagree, or an accuracy is below the promised one.

    The report printed before the message, and in `--json`, holds the numbers.
    """

    code = "PL-E5007"
    exit_code = 1

    def __init__(self, message: str, data: dict[str, Any] | None = None, text: str = "") -> None:
        super().__init__(message)
        self.data = data or {}
        self.text = text


class OutputNotFinite(CliError):
    """A model answered NaN or infinity for a finite input.

    Look for the first layer with `penlight verify A B`; lower the learning rate if the weights themselves are not finite.
    """

    code = "PL-E5008"
    exit_code = 5


class Interrupted(CliError):
    """The command was stopped by Ctrl-C or by SIGTERM before it was done; files written before are whole."""

    code = "PL-E5009"
    exit_code = 130
