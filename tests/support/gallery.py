# SPDX-License-Identifier: Apache-2.0
"""The gallery's frame: each program must fail under export, with one code and one complete message.

The messages are in `messages.txt`. In a message `{here}` stands for file:line of the line that ends in `# here`, `{there}` for
that of `# there`. `python tests/support/gallery.py` writes the file anew: read the difference before you commit it.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CASES: dict[str, "Case"] = {}
MARKS = ("here", "there")


@dataclass(frozen=True)
class Case:
    """A program and the code of its error."""

    program: Callable[[], object]
    code: str

    def places(self) -> dict[str, str]:
        """The marked lines: "here" and "there" as "file.py:7"."""
        lines, first = inspect.getsourcelines(self.program)
        file = Path(inspect.getsourcefile(self.program) or "").name
        marks = [
            (name, number) for number, line in enumerate(lines, first) for name in MARKS if line.rstrip().endswith(f"# {name}")
        ]
        return {name: f"{file}:{number}" for name, number in marks}


def fails(code: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Registers a program that fails with this code."""

    def add(program: Callable[[], object]) -> Callable[[], object]:
        assert program.__name__ not in CASES, f"{program.__name__} is there twice"
        CASES[program.__name__] = Case(program, code)
        return program

    return add


def load(folder: Path) -> dict[str, Case]:
    """All cases of the files in a folder."""
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"gallery_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return CASES


def messages(folder: Path) -> dict[str, str]:
    """The golden messages by the name of the program."""
    text = (folder / "messages.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+) PL-E\d+\n    (.*)$", text, re.MULTILINE))


def shown(case: Case, error: BaseException) -> str:
    """The message with marks in place of the marked lines; paths depend on the folder that the test runs in."""
    message = re.sub(r"[^\s(]*/(?=\w+\.py:\d)", "", str(error))
    for name, place in case.places().items():
        message = re.sub(re.escape(place) + r"\b", f"{{{name}}}", message)
    return message


def failure(case: Case) -> Exception:
    """The error of the program."""
    try:
        case.program()
    except Exception as error:
        return error
    raise AssertionError(f"{case.program.__name__} was exported")


def main() -> None:
    folder = Path(__file__).resolve().parents[1] / "export" / "gallery"
    from gallery import load as load_cases  # the programs register themselves in the imported module, not in __main__

    cases = load_cases(folder)
    entries = [f"{name} {case.code}\n    {shown(case, failure(case))}\n" for name, case in cases.items()]
    (folder / "messages.txt").write_text("\n".join(entries), encoding="utf-8")


if __name__ == "__main__":
    main()
