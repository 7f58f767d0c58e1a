# SPDX-License-Identifier: Apache-2.0
"""What fuzzers have found to reach other code, kept as one compressed file and replayed by the tests.

    penlight_fuzz_program -merge=1 SMALLEST WORK... && python tests/support/fuzz_corpus.py SMALLEST

writes it anew from a folder of inputs.
"""

from __future__ import annotations

import lzma
import struct
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "runtime" / "fuzz_corpus.xz"


def read() -> bytes:
    """The programs, each behind its length: what `penlight_replay_bundle` reads."""
    return lzma.decompress(FILE.read_bytes())


def main() -> int:
    inputs = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
    FILE.write_bytes(lzma.compress(b"".join(struct.pack("<Q", len(data)) + data for data in inputs), preset=9))
    print(f"{len(inputs)} inputs, {FILE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
