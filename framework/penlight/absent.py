# SPDX-License-Identifier: Apache-2.0
"""What PyTorch has under `torch.` and Penlight has not, with what to do instead; read when such a name is asked for."""

HINTS = {
    "jit": "models are exported instead: penlight_export.export(model, inputs)",
    "onnx": "use penlight_export.export(model, inputs).save('model.onnx')",
    "export": "use penlight_export.export(model, inputs)",
    "fx": "use penlight.tracing.trace(model, inputs)",
    "vmap": "write the function for a batch; operators take leading dimensions",
    "distributions": "draw with penlight.randn, bernoulli or multinomial, and write the log-probability as a formula",
    "sparse_coo_tensor": "there are no sparse tensors; index_add and embedding take indices of dense ones",
    "sparse_csr_tensor": "there are no sparse tensors; index_add and embedding take indices of dense ones",
    "set_default_device": "pass device=, or move the model with model.to(device)",
    "set_default_tensor_type": "pass dtype= and device=",
    "multiprocessing": "use penlight.data.DataLoader(num_workers=...) or penlight.distributed",
    "hub": "download the weights and read them with penlight.load or penlight.load_safetensors",
    "profiler": "measure with time.perf_counter, or `penlight bench` for an exported model",
    "mps": "the devices are cpu and cuda",
    "eig": "use penlight.linalg.eig",
    "lstsq": "use penlight.linalg.lstsq",
    "solve": "use penlight.linalg.solve",
    "lu": "use penlight.linalg.lu_factor",
    "triangular_solve": "use penlight.linalg.solve_triangular",
    "range": "use penlight.arange, whose end is not included",
}


def message(name: str) -> str:
    """The text of the AttributeError for a name of the package."""
    hint = f"; {HINTS[name]}" if name in HINTS else ""
    return f"module 'penlight' has no attribute {name!r}{hint}"
