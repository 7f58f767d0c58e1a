# SPDX-License-Identifier: Apache-2.0
"""A line search for the strong Wolfe conditions (Nocedal and Wright 2006, algorithms 3.5 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

Evaluate = Callable[[float], tuple[float, Any]]


class Point(NamedTuple):
    """A step length with loss, gradient and slope along the direction."""

    t: float
    f: float
    g: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Returns where the cubic through two points with their slopes is least, within `bounds` or between them."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    left, right = (a, b) if a.t <= b.t else (b, a)
    best = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(best, low), high)


def strong_wolfe(
    evaluate: Evaluate,
    t: float,
    d: Any,
    f: float,
    g: Any,
    slope: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Any, float, int]:
    """Returns loss, gradient, step length and number of evaluations of a step that meets the strong Wolfe conditions.

    Args:
        evaluate: loss and gradient at a step length.
        t: the first length tried. d: the direction.
        f, g, slope: loss, gradient and slope at length 0.
        c1, c2: of sufficient decrease, and of curvature.
        tolerance_change: smallest interval. max_ls: most trials.
    """

    def at(length: float) -> Point:
        loss, gradient = evaluate(length)
        return Point(length, loss, gradient, float(gradient @ d))

    start = Point(0.0, f, g, slope)
    bracket, done, trials = _bracket(at, start, t, c1, c2, max_ls)
    width, stuck = float(abs(d).max()), False
    low, high = (0, 1) if bracket[0].f <= bracket[-1].f else (1, 0)
    calls = trials + 1
    while not done and trials < max_ls:
        if abs(bracket[1].t - bracket[0].t) * width < tolerance_change:
            break
        t, stuck = _inside(cubic_minimum(bracket[0], bracket[1]), bracket, stuck)
        new = at(t)
        calls, trials = calls + 1, trials + 1
        if new.f > f + c1 * t * slope or new.f >= bracket[low].f:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
            continue
        if abs(new.slope) <= -c2 * slope:
            done = True
        elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    best = bracket[low if len(bracket) > 1 else 0]
    return best.f, best.g, best.t, calls


def _bracket(
    at: Callable[[float], Point], start: Point, t: float, c1: float, c2: float, max_ls: int
) -> tuple[list[Point], bool, int]:
    """Goes outwards until a good point, or one beyond it, is found: ([point] or [before, after], found, trials)."""
    previous, new, trials = start, at(t), 0
    while trials < max_ls:
        if new.f > start.f + c1 * new.t * start.slope or (trials > 1 and new.f >= previous.f):
            return [previous, new], False, trials
        if abs(new.slope) <= -c2 * start.slope:
            return [new], True, trials
        if new.slope >= 0:
            return [previous, new], False, trials
        reach = (new.t + 0.01 * (new.t - previous.t), new.t * 10)
        previous, new = new, at(cubic_minimum(previous, new, reach))
        trials += 1
    return [start, new], False, trials


def _inside(t: float, bracket: list[Point], stuck: bool) -> tuple[float, bool]:
    """Moves a trial away from the ends if it was there already: a tenth of the width inside."""
    left, right = min(p.t for p in bracket), max(p.t for p in bracket)
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not (stuck or t >= right or t <= left):
        return t, True
    return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
