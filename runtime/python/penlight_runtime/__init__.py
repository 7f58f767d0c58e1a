# SPDX-License-Identifier: Apache-2.0
"""The edge runtime: loads a .pen file, verifies it, runs it. Needs NumPy only.

program = penlight_runtime.Program.open("model.pen")
outputs = program.session(threads=2).run({"x": x})
"""

from penlight_runtime.errors import BudgetExceeded as BudgetExceeded
from penlight_runtime.errors import Cancelled as Cancelled
from penlight_runtime.errors import InvalidArgument as InvalidArgument
from penlight_runtime.errors import InvalidFile as InvalidFile
from penlight_runtime.errors import InvalidProgram as InvalidProgram
from penlight_runtime.errors import InvalidValue as InvalidValue
from penlight_runtime.errors import MissingDtypeSupport as MissingDtypeSupport
from penlight_runtime.errors import OutOfMemory as OutOfMemory
from penlight_runtime.errors import RuntimeFailure as RuntimeFailure
from penlight_runtime.errors import SelfTestFailed as SelfTestFailed
from penlight_runtime.errors import ShapeMismatch as ShapeMismatch
from penlight_runtime.errors import UnreadableFile as UnreadableFile
from penlight_runtime.errors import UnsupportedOperator as UnsupportedOperator
from penlight_runtime.errors import UnsupportedVersion as UnsupportedVersion
from penlight_runtime.library import OperatorInfo as OperatorInfo
from penlight_runtime.library import operators as operators
from penlight_runtime.library import version as version
from penlight_runtime.program import GoldenSample as GoldenSample
from penlight_runtime.program import Program as Program
from penlight_runtime.program import TensorInfo as TensorInfo
from penlight_runtime.session import ArenaBlock as ArenaBlock
from penlight_runtime.session import MemoryPlan as MemoryPlan
from penlight_runtime.session import NodeProfile as NodeProfile
from penlight_runtime.session import PlanEntry as PlanEntry
from penlight_runtime.session import Session as Session
