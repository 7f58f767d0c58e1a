# SPDX-License-Identifier: Apache-2.0
"""Linear algebra on batches of matrices: `penlight.linalg`, with PyTorch's names."""

from penlight.ops import out as _out
from penlight.ops.eigen import eig as eig
from penlight.ops.eigen import eigvals as eigvals
from penlight.ops.matrix import cholesky as cholesky
from penlight.ops.matrix import cond as cond
from penlight.ops.matrix import cross as cross
from penlight.ops.matrix import det as det
from penlight.ops.matrix import diagonal as diagonal
from penlight.ops.matrix import eigh as eigh
from penlight.ops.matrix import eigvalsh as eigvalsh
from penlight.ops.matrix import inv as inv
from penlight.ops.matrix import lstsq as lstsq
from penlight.ops.matrix import lu as lu
from penlight.ops.matrix import lu_factor as lu_factor
from penlight.ops.matrix import lu_solve as lu_solve
from penlight.ops.matrix import matrix_exp as matrix_exp
from penlight.ops.matrix import matrix_norm as matrix_norm
from penlight.ops.matrix import matrix_power as matrix_power
from penlight.ops.matrix import matrix_rank as matrix_rank
from penlight.ops.matrix import multi_dot as multi_dot
from penlight.ops.matrix import norm as norm
from penlight.ops.matrix import pinv as pinv
from penlight.ops.matrix import qr as qr
from penlight.ops.matrix import slogdet as slogdet
from penlight.ops.matrix import solve as solve
from penlight.ops.matrix import solve_triangular as solve_triangular
from penlight.ops.matrix import svd as svd
from penlight.ops.matrix import svdvals as svdvals
from penlight.ops.matrix import tensorinv as tensorinv
from penlight.ops.matrix import tensorsolve as tensorsolve
from penlight.ops.matrix import vander as vander
from penlight.ops.matrix import vecdot as vecdot
from penlight.ops.matrix import vector_norm as vector_norm

_out.accept_out(globals(), _out.LINALG)
