# SPDX-License-Identifier: Apache-2.0
"""How good a memory plan is: beside what lives at once, and beside the plan that greedy by size makes."""

from __future__ import annotations

import penlight_runtime as runtime

Block = runtime.ArenaBlock


def blocks_of(session: runtime.Session) -> list[Block]:
    """The blocks of a prepared session's arena that have bytes."""
    plan = session.plan()
    return [entry.block for entry in (*plan.values, *plan.scratch) if entry.block and entry.block.size_bytes]


def lower_bound(blocks: list[Block]) -> int:
    """The most bytes that live at one step: no plan can take less."""
    changes: dict[int, int] = {}
    for block in blocks:
        changes[block.first_node] = changes.get(block.first_node, 0) + block.size_bytes
        changes[block.last_node + 1] = changes.get(block.last_node + 1, 0) - block.size_bytes
    live = most = 0
    for step in sorted(changes):
        live += changes[step]
        most = max(most, live)
    return most


def greedy_by_size(blocks: list[Block]) -> int:
    """Bytes of the plan that places the largest first, each into the tightest gap among those that live with it."""
    placed: list[tuple[int, Block]] = []
    for block in sorted(blocks, key=lambda block: -block.size_bytes):
        end, best, gap = 0, None, 0
        together = (p for p in placed if p[1].first_node <= block.last_node and block.first_node <= p[1].last_node)
        for offset, other in sorted(together, key=lambda p: p[0]):
            if offset - end >= block.size_bytes and (best is None or offset - end < gap):
                best, gap = end, offset - end
            end = max(end, offset + other.size_bytes)
        placed.append((end if best is None else best, block))
    return max((offset + block.size_bytes for offset, block in placed), default=0)
