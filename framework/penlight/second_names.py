# SPDX-License-Identifier: Apache-2.0
"""Names that PyTorch has at the top of its namespace, and the modules that hold them here; imported when first asked for."""

_BY_MODULE = {
    "penlight.nn.functional": """
        adaptive_avg_pool1d alpha_dropout avg_pool1d celu celu_ channel_shuffle conv1d conv2d conv3d conv_tbc conv_transpose1d
        conv_transpose2d conv_transpose3d cosine_similarity dropout feature_alpha_dropout group_norm hardshrink layer_norm
        max_pool1d max_pool2d max_pool3d pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu relu_ rms_norm rrelu rrelu_
        selu selu_ threshold threshold_
    """,
    "penlight.dtype_names": """
        short int long half float double cfloat cdouble can_cast promote_types get_default_dtype FloatTensor DoubleTensor HalfTensor
        BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor
    """,
    "penlight.switches": """
        set_default_dtype set_printoptions use_deterministic_algorithms are_deterministic_algorithms_enabled
    """,
    "penlight.constants": "e inf nan newaxis pi Size",
    "penlight.random_fill": "normal poisson randint_like initial_seed",
    "penlight.ops.variants": "is_nonzero is_same_size is_signed",
    "penlight.version": "__version__",
    "penlight.cuda": "cuda",
    "penlight.cuda.capture": "compile",
    "penlight.backends.cuda.precision": "set_float32_matmul_precision get_float32_matmul_precision",
}
PLACES = {name: module for module, names in _BY_MODULE.items() for name in names.split()}
