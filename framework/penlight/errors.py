# SPDX-License-Identifier: Apache-2.0
"""The errors of the training framework, each declared once with its code and explanation.

The docstring of a class is its explanation: `penlight explain PL-E1001` prints it.
"""

from __future__ import annotations


class PenlightError(Exception):
    """An error of Penlight: it carries a stable `code` and the exit code of the command line."""

    code = "PL-E1000"
    exit_code = 3


class ShapeError(PenlightError, ValueError):
    """The shapes of the tensors given to an operator do not fit together.

    The message names the operator, the shape that was expected and the one that came. The usual cause is a missing
    transpose, a missing batch dimension, or a layer whose `in_features` is not the size of the last dimension.
    """

    code = "PL-E1001"


class IndexShapeError(ShapeError, IndexError):
    """An index has more dimensions than the tensor, or a mask has another shape than what it selects from."""

    code = "PL-E1009"


class DTypeError(PenlightError, TypeError):
    """The dtype of a tensor does not suit the operator, for example a floating-point index."""

    code = "PL-E1002"


class DeviceError(PenlightError, RuntimeError):
    """A device is not there, or tensors of different devices met in one operator.

    Move tensors with `.to(device)`. CUDA needs the extra `penlight[cuda13]` and a driver; `penlight doctor` tells.
    """

    code = "PL-E1003"
    exit_code = 4


class ArgumentError(PenlightError, ValueError):
    """An argument of an operator has a value outside its range; the message names it and the range."""

    code = "PL-E1004"


class GradientError(PenlightError, RuntimeError):
    """The gradient cannot be computed.

    The tensor does not require a gradient, its tape was freed by an earlier `backward()` (pass `retain_graph=True`), or
    the operator has no gradient, for the reason that the message gives.
    """

    code = "PL-E1005"


class VersionError(GradientError):
    """A tensor that the gradient needs was changed in place after it was used.

    Use the operation that makes a new tensor (`x = x + 1` instead of `x += 1`), or clone the tensor first.
    """

    code = "PL-E1006"


class InPlaceError(PenlightError, RuntimeError):
    """An in-place operation is not allowed here.

    A leaf that requires a gradient may change only under `no_grad()`; a result that does not fit the shape or the dtype
    of the tensor cannot be written into it.
    """

    code = "PL-E1007"


class NumericalError(PenlightError, ArithmeticError):
    """A value became NaN or infinite where that stops the work, for example the loss of a training step."""

    code = "PL-E1008"
    exit_code = 5


class GradcheckError(PenlightError, RuntimeError):
    """A gradient that was checked against finite differences is wrong.

    The message holds the numerical and the analytical Jacobian: a row for each element of the input, a column for each
    element of the output. Look at the backward of the operator or custom Function that the function under check calls.
    """

    code = "PL-E1010"
    exit_code = 5


class AnomalyError(NumericalError, RuntimeError):
    """A backward gave NaN while `detect_anomaly` was on.

    The message names the operator and the line of its forward call. Usual causes: sqrt, log or a division at 0, or an
    infinite value in the forward.
    """

    code = "PL-E1011"


class FunctionError(GradientError, TypeError):
    """A custom `autograd.Function` breaks a rule: of what forward returns, backward returns, or the context is told.

    The message names the class, what was expected and what came.
    """

    code = "PL-E1012"


class RecomputeError(PenlightError, RuntimeError):
    """A function under `checkpoint` did something else when it ran again for the backward.

    It must be a pure function of its arguments and of the random numbers of Penlight: no state that changes between the
    two runs, no other source of chance, no arguments that are written to in between.
    """

    code = "PL-E1013"


class ScalerError(PenlightError, RuntimeError):
    """The methods of a GradScaler were called in an order that would scale or step wrongly.

    Per step: `scale(loss).backward()`, at most one `unscale_(optimizer)`, one `step(optimizer)`, then `update()`.
    """

    code = "PL-E1014"


class TraceError(PenlightError, RuntimeError):
    """The program under trace does something that a fixed graph cannot express.

    A Python branch on a traced value, a value read with `.item()`, a size that got fixed at one number although its
    dimension was declared dynamic, or randomness. The message names the file and the line, and what to write instead.
    """

    code = "PL-E1101"


class DynamicShapeError(TraceError):
    """Two traces at two sizes of a dynamic dimension disagree: the program specialises on the size.

    The message names the dimension, the two values that were seen, and the file and line that fixed the size.
    """

    code = "PL-E1102"


class SaveError(PenlightError, OSError):
    """A file could not be written; the old file, if there was one, is unchanged.

    The message names the path and what the system said. When the disk is full it names the bytes needed and the bytes free.
    Free some space, or choose a folder that exists and can be written.
    """

    code = "PL-E1201"


class FileFormatError(PenlightError, ValueError):
    """A file is empty, truncated, damaged or of another format than its place asks for.

    Copy it again from its source; if it was written here, write it again.
    """

    code = "PL-E1202"


class UnsafeFileError(FileFormatError):
    """A .pt file names something other than tensors, containers, numbers and text, so that loading it would run code.

    Penlight never runs code from a file. In PyTorch, save the `state_dict()` of the model or optimizer instead of the
    whole object; convert NumPy values to tensors first.
    """

    code = "PL-E1206"


class FileMissingError(PenlightError, FileNotFoundError):
    """A file or folder that is needed is not there or cannot be read. Check the path and its permissions."""

    code = "PL-E1203"


class StateDictError(PenlightError, ValueError):
    """The names or shapes in a state_dict differ from the module's.

    The message lists what is missing, what is unexpected and what has another shape. Build the module with the same
    arguments as when it was saved, or pass `strict=False` to take what fits by name.
    """

    code = "PL-E1204"


class CheckpointError(PenlightError, ValueError):
    """A checkpoint is incomplete, damaged, or of another run than the one that resumes from it."""

    code = "PL-E1205"


class DataError(PenlightError, ValueError):
    """The data has a value, shape, dtype or label that training cannot use, such as NaN.

    The message names the array and the first bad position. Clean or drop those samples.
    """

    code = "PL-E1301"


class WorkerError(PenlightError, RuntimeError):
    """A data loader's worker process raised, died or stopped answering.

    The message names the worker and the sample it was reading. Try `num_workers=0`: the same error then shows in your
    own process, where a debugger can reach it.
    """

    code = "PL-E1302"


class Interrupted(PenlightError):
    """Training was stopped by a signal, after the current step and with a checkpoint where one was asked for.

    Run the same command with resume to go on. `exit_code` is 130 after SIGINT (Ctrl-C) and 143 after SIGTERM.
    """

    code = "PL-E1401"
    exit_code = 130


class DistributedError(PenlightError, RuntimeError):
    """Processes that train together do not agree, or a collective was called outside a process group.

    The message names the first rank that came with another call, shape or dtype than rank 0. All ranks must make the same
    collective calls in the same order: look for a branch that depends on the rank or on the data of one rank.
    """

    code = "PL-E1501"


class DistributedMissingError(PenlightError, ImportError):
    """Training in several processes needs a package that is not installed: mpi4py with an MPI library, or NCCL for GPUs.

    The message holds the line that installs it.
    """

    code = "PL-E1502"
    exit_code = 4


class RankFailedError(PenlightError, RuntimeError):
    """One of the processes of `penlight launch` failed or died, and so the whole job was ended.

    The message names the rank that was first, and its own error or signal; what it printed stands above. The exit code is
    that of the job. Resume from the last checkpoint.
    """

    code = "PL-E1503"
    exit_code = 1
