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

    Subclasses with codes of their own say what: PL-E1102 to PL-E1110. This code is used where none of them fits, such as a
    program that runs at one size of a dynamic dimension only. The message names the file and the line, and what to write instead.
    """

    code = "PL-E1101"


class DynamicShapeError(TraceError):
    """The program specialises on the size of a dimension that was declared dynamic.

    A model is traced at two sizes of each dynamic dimension, and both must give one graph. A Python loop over `x.shape[0]`, a
    branch on a size, `int(x.shape[0])`, `float(...)` and `math.sqrt(...)` of a size fix it at the number of the example. The
    message names the dimension, the two values that were seen, and the file and line that fixed it.

    Instead of                                      write
        x.reshape(int(x.shape[0]) * 2, -1)              x.reshape(x.shape[0] * 2, -1)
        sum(x[i] for i in range(x.shape[0]))            x.sum(0)
        for t in range(x.shape[1]): ...                 pl.scan over the dimension
        x / x.shape[0] ** 0.5                           x / pl.full((), x.shape[0]).float().sqrt()
        x * 2 if x.shape[0] > 4 else x                  two exports, or no branch

    Or leave the dimension out of `dynamic`: then it is fixed at the example's size.
    """

    code = "PL-E1102"


class ValueReadError(TraceError):
    """The program reads the value of a tensor while it is traced, and a graph is made before there are values.

    `if`, `while` and `assert` on a tensor, `and`, `or`, `not`, `in`, `min` and `max` of Python, `int()`, `float()`, `.item()`,
    `.tolist()`, `.numpy()`, a format like `f"{x.mean():.1f}"`, a tensor in `range()`, and NumPy functions all do it.

    Instead of                                      write
        if x.sum() > 0: y = f(x)                        y = pl.cond(x.sum() > 0, f, g, (x,))
        a if a > b else b                               pl.where(a > b, a, b), pl.maximum(a, b)
        while x.max() < 9: x = x * 2                    pl.while_loop(condition, body, (x,))
        x / x.max().item()                              x / x.max()
        pl.tensor(np.tanh(x.numpy()))                   pl.tanh(x)
        assert (x >= 0).all()                           the check outside of the module
    """

    code = "PL-E1103"


class DataShapeError(ValueReadError):
    """The size of a result depends on the values of a tensor, and the sizes in a graph follow from the inputs' sizes alone.

    `nonzero`, `unique`, `bincount`, `masked_select` and `x[mask]` are such functions.

    Instead of                                      write
        x[x > 1].sum()                                  pl.where(x > 1, x, 0).sum()
        x[mask] = 0                                     x.masked_fill(mask, 0), pl.where(mask, 0, x)
        boxes[scores > 0.5]                             the k best: scores.topk(k), boxes.gather(...)
        pl.repeat_interleave(x, repeats)                x[index], with the index as an input
    """

    code = "PL-E1104"


class StateWriteError(TraceError):
    """The program changes an input, a parameter, a buffer or the memory behind a view; a graph is a function without state.

    Training mode of batch norm does it (its running statistics), `self.calls += 1` on a buffer, `x.mul_(2)` on an input.

    Instead of                                      write
        x.mul_(2), on an input                          x = x * 2
        self.buffer = y                                 return y too, and pass it in again with the next call
        y = x * 1; y[0].mul_(2)                         y[0] = y[0] * 2
        a model in training mode                        model.eval()
    """

    code = "PL-E1105"


class RandomTraceError(TraceError):
    """The program draws random numbers, and a graph gives the same result each time.

    Dropout is the usual cause: `export` puts a module into evaluation mode, but `F.dropout(x, p)` is always on.

    Instead of                                      write
        F.dropout(x, 0.5)                               F.dropout(x, 0.5, self.training), or nn.Dropout
        x + pl.randn(x.shape)                           x + noise, with the noise as an input
    """

    code = "PL-E1106"


class LeakError(TraceError):
    """A tensor or number came into the graph past the trace: two runs of the program on other values are two graphs.

    The program was run twice. It keeps something from one call to the next (a list, an attribute, a global), reads values of an
    input behind the trace's back, or draws random numbers of NumPy or Python. Pass what changes as an input, return what is
    to be kept, and make constants once, in `__init__`.
    """

    code = "PL-E1107"


class TraceGradientError(TraceError, GradientError):
    """The program computes gradients (`backward`, `autograd.grad`), and a trace records forward operators without a tape.

    Write the derivative out, or export the forward and differentiate on the other side.
    """

    code = "PL-E1108"


class TraceResultError(TraceError, TypeError):
    """What the program returns cannot be the outputs of a graph.

    A result is a tensor, or tuples, lists and dicts of tensors and None, with at least one tensor, and the names of a dict must
    be text. Numbers, text and arrays of NumPy are no tensors: `pl.tensor(number)` makes a constant output of one.
    """

    code = "PL-E1109"


class TraceInputError(TraceError, ArgumentError, TypeError):
    """The example inputs, their names or their dynamic dimensions do not fit the program.

    `inputs` is a tensor, a tuple of positional arguments, or a dict of keyword arguments; each of them is a tensor, None, or
    tuples, lists and dicts of tensors. `dynamic` holds, for each input by its name, which dimensions may vary and their names:
    `{"x": {0: "batch", 1: "2*time"}}`, or `{0: pl.Dim("batch", min=1, max=64)}`. Dimensions with one name have one size.
    """

    code = "PL-E1110"
    exit_code = 2


class ControlFlowError(PenlightError, TypeError):
    """Functions given to `cond`, `while_loop` or `scan` do not fit together.

    The two functions of a cond, and the values that a loop carries from one iteration to the next, must agree in structure,
    dtype and rank. The message names the functions with file and line, and what differs.
    """

    code = "PL-E1111"


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


class CaptureError(PenlightError, RuntimeError):
    """A step cannot become one CUDA graph, or the way it is called does not fit the graph.

    A graph replays kernels on fixed addresses. What a step reads on the host (`.item()`, `bool()`, `print`), copies from the host,
    draws there, or binds to a new tensor from call to call is not in it. The message names the file and the line.

    Instead of                                      write
        losses.append(loss.item()) in the step      return loss, and read it outside
        x.to("cuda") of a fixed table               move it before the step
        if loss > 2: ...                            pl.where, or outside of the step
        self.hidden = new                           self.hidden.copy_(new)
        scheduler.step() in the step                scheduler.step() after it
    """

    code = "PL-E1601"


class OutOfMemoryError(DeviceError, MemoryError):
    """The memory of the device does not suffice.

    The message holds what was asked for, what is free, what tensors hold and what the pool keeps, and the largest holders.
    Nothing was changed by the call that failed: a smaller batch works after it. `del` what is not needed, call
    `penlight.cuda.empty_cache()`, use a smaller batch with `accumulate=`, autocast, or `penlight.utils.checkpoint`.
    """

    code = "PL-E1602"
