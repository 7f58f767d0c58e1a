# SPDX-License-Identifier: Apache-2.0
"""Runs the command line, in this process for its logic or in another for exit codes and signals."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from penlight_cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        return json.loads(self.out)

    def failed_cleanly(self, exit_code: int, *words: str) -> None:
        """Asserts the output contract of a failure: the exit code, one line with a code, no traceback."""
        assert self.code == exit_code, (self.out, self.err)
        assert "Traceback" not in self.err + self.out
        lines = [line for line in self.err.splitlines() if line.startswith("error ")]
        assert len(lines) == 1 and lines[0].startswith("error PL-E"), self.err
        for word in words:
            assert word in self.err, (word, self.err)


def in_process(capsys: Any, *arguments: Any) -> Outcome:
    """Runs `penlight` here; pytest's capsys takes the output."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def command_line(*arguments: Any) -> list[str]:
    """The command as the shell would start it."""
    return [sys.executable, "-m", "penlight_cli", *map(str, arguments)]


def in_shell(*arguments: Any, timeout: float = 600, **environment: str) -> Outcome:
    """Runs `penlight` in a process of its own."""
    result = subprocess.run(
        command_line(*arguments), capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}
    )
    return Outcome(result.returncode, result.stdout, result.stderr)
