# SPDX-License-Identifier: Apache-2.0
"""Models with strings give the answers of onnxruntime on the edge runtime: single operators, text columns, text labels."""

import numpy as np
import onnx
import pytest
from ml_models import BRANCHES, LINEAR, NAMED, NUMBERS, ONE, ONLY, TEXTS, WHOLE, single, tree
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import UnsupportedFeatureError, convert, summarize, verify
from penlight_export.compare import difference
from penlight_export.errors import OptionError
from penlight_export.onnx.strings.letters import case_table, change_case
from penlight_export.onnx.strings.patterns import UnsupportedPattern, automaton

RNG = np.random.default_rng(11)
WORDS = np.array(["", "a", "Red", "green", "été", "blue sky", "Ωmega", "a,b,,c", "red"], object)
X = WORDS[RNG.integers(0, len(WORDS), (4, 3, 2))]
ROW = WORDS[:6].copy()


def same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        if array.dtype.kind == "O":
            assert found[name].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def agree(tmp_path, proto, inputs, **options):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    result = convert(path, tmp_path / "model.pen", data=inputs, **options)
    assert result.report.ok
    program = penlight_runtime.Program.open(result.path)
    assert program.self_test() == 1
    found = program.session().run(inputs)
    same(found, run_onnx(proto, inputs))
    return program, found


BODIES = {
    "identity": ("(string[A, B, C] x) => (string[A, B, C] y)", "y = Identity(x)", {}),
    "reshape": ("(string[A, B, C] x) => (string[D, 6] y)", "y = Reshape(x, s)", {"s": np.array([0, -1])}),
    "reshape-late": ("(string[A, B, C] x, int64[K] s) => (string[D, E] y)", "y = Reshape(x, s)", {}),
    "flatten": ("(string[A, B, C] x) => (string[D, E] y)", "y = Flatten<axis = -1>(x)", {}),
    "flatten-0": ("(string[A, B, C] x) => (string[D, E] y)", "y = Flatten<axis = 0>(x)", {}),
    "transpose": ("(string[A, B, C] x) => (string[C, A, B] y)", "y = Transpose<perm = [2, 0, 1]>(x)", {}),
    "transpose-all": ("(string[A, B, C] x) => (string[C, B, A] y)", "y = Transpose(x)", {}),
    "squeeze": ("(string[A, B, C] x) => (string[A, B, C] y)", "z = Unsqueeze(x, a)\n y = Squeeze(z, a)", {"a": np.array([-1, 0])}),
    "squeeze-all": ("(string[4, 3, 2] x) => (string[4, 3, 2] y)", "z = Unsqueeze(x, a)\n y = Squeeze(z)", {"a": np.array([1])}),
    "gather": ("(string[A, B, C] x) => (string[A, B, 2] y)", "y = Gather<axis = -1>(x, i)", {"i": np.array([1, 0])}),
    "gather-nd": ("(string[A, B, C] x) => (string[2, C] y)", "y = GatherND(x, i)", {"i": np.array([[1, 0], [3, 2]])}),
    "gather-elements": (
        "(string[A, B, C] x) => (string[A, B, 1] y)",
        "y = GatherElements<axis = -1>(x, i)",
        {"i": RNG.integers(0, 2, (4, 3, 1))},
    ),
    "slice": (
        "(string[A, B, C] x) => (string[A, B, D] y)",
        "y = Slice(x, s, e, a)",
        {"s": np.array([0]), "e": np.array([1]), "a": np.array([-1])},
    ),
    "split": ("(string[A, B, 2] x) => (string[A, B, 1] y, string[A, B, 1] z)", "y, z = Split<axis = -1, num_outputs = 2>(x)", {}),
    "concat": ("(string[A, B, C] x) => (string[A, D, C] y)", "z = StringConcat(x, x)\n y = Concat<axis = -2>(z, x)", {}),
    "expand": ("(string[A, B, C] x) => (string[5, A, B, C] y)", "y = Expand(x, s)", {"s": np.array([5, 1, 1, 1])}),
    "tile": ("(string[A, B, C] x) => (string[D, B, E] y)", "y = Tile(x, r)", {"r": np.array([2, 1, 3])}),
    "where": (
        "(string[A, B, C] x) => (string[A, B, C] y)",
        "e = Equal(x, r)\n d = StringConcat(x, x)\n y = Where(e, d, x)",
        {"r": np.array(["red", "a"], object)},
    ),
    "shape": ("(string[A, B, C] x) => (int64[2] y, int64[D] z)", "y = Shape<start = -2>(x)\n z = Shape<end = 9>(x)", {}),
    "size": ("(string[A, B, C] x) => (int64 y)", "y = Size(x)", {}),
    "compress": ("(string[A, B, C] x) => (string[D] y)", "y = Compress(x, c)", {"c": np.array([1, 0, 0, 1, 1], bool)}),
    "compress-axis": ("(string[A, B, C] x) => (string[A, B, D] y)", "y = Compress<axis = -1>(x, c)", {"c": np.array([0, 1], bool)}),
    "unique": (
        "(string[A, B, C] x) => (string[D] y, int64[D] i, int64[E] v, int64[D] c)",
        "y, i, v, c = Unique<sorted = 1>(x)",
        {},
    ),
    "scatter": (
        "(string[A, B, C] x) => (string[A, B, C] y)",
        "y = ScatterElements<axis = -1>(x, i, u)",
        {"i": RNG.integers(0, 2, (4, 3, 1)), "u": np.full((4, 3, 1), "x" * 70, object)},
    ),
    "scatter-nd": (
        "(string[A, B, C] x) => (string[A, B, C] y)",
        "y = ScatterND(x, i, u)",
        {"i": np.array([[1, 0, 1]]), "u": np.array(["new"], object)},
    ),
    "concat-strings": (
        "(string[A, B, C] x) => (string[A, B, C] y)",
        "y = StringConcat(x, r)",
        {"r": np.array([["-é"], [""], ["x"]], object)},
    ),
    "split-comma": (
        "(string[A, B, C] x) => (string[A, B, C, D] y, int64[A, B, C] n)",
        'y, n = StringSplit<delimiter = ",">(x)',
        {},
    ),
    "split-words": ("(string[A, B, C] x) => (string[A, B, C, D] y, int64[A, B, C] n)", "y, n = StringSplit<maxsplit = 1>(x)", {}),
}


@pytest.mark.parametrize("name", BODIES)
def test_operators(name, tmp_path):
    head, body, weights = BODIES[name]
    proto = model_from_text(f"g {head} {{ {body} }}", 20, weights)
    inputs = {"x": X} | ({"s": np.array([2, -1])} if "late" in name else {})
    _, found = agree(tmp_path, proto, inputs)
    assert all(array.size for array in found.values())


NORMALIZERS = {
    "upper": ({"case_change_action": "UPPER", "is_case_sensitive": 1}, ROW),
    "lower-stop": ({"case_change_action": "LOWER", "is_case_sensitive": 0, "stopwords": ["RED", "ÉTÉ"]}, ROW),
    "upper-stop": ({"case_change_action": "UPPER", "is_case_sensitive": 0, "stopwords": ["red", "a"]}, ROW),
    "sensitive": ({"case_change_action": "LOWER", "is_case_sensitive": 1, "stopwords": ["red", "Red"]}, ROW),
    "same-case": ({"is_case_sensitive": 0, "stopwords": ["gReen"]}, ROW),
    "nothing-left": ({"is_case_sensitive": 1, "stopwords": ["a"]}, np.array([["a", "a"]], object)),
    "letters": ({"case_change_action": "UPPER", "is_case_sensitive": 1}, np.array(["ſßıÿ\U00010428ɐ", "ǆ"], object)),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer(name, tmp_path):
    """C.utf8 is there in every container; of the locale only the tables of case count, which are those of Unicode in most."""
    attributes, x = NORMALIZERS[name]
    node = onnx.helper.make_node("StringNormalizer", ["x"], ["y"], **({"case_change_action": "NONE"} | attributes), locale="C.utf8")
    shape, after = (["N"], ["M"]) if x.ndim == 1 else ([1, "N"], [1, "M"])
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.STRING, s) for n, s in (("x", shape), ("y", after))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    agree(tmp_path, onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), {"x": x})


def test_case_of_all_letters():
    rest = "".join(map(chr, range(0x20000, 0x110000)))
    assert rest.upper() == rest.lower() == rest
    for upper in (False, True):
        mapped = {}
        for first, count, step, delta in case_table(upper).tolist():
            assert count >= 1 and step >= 1
            mapped.update({first + k * step: first + k * step + delta for k in range(count)})
        letters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
        assert mapped == {ord(letter): ord(other) for letter in letters if (other := change_case(letter, upper)) != letter}
        assert all(len(chr(b).encode()) * 2 <= len(chr(a).encode()) * 3 for a, b in mapped.items())  # the kernel's room


NUMBER_TEXTS = np.array(["1", " -2.5", "1e3", "INF", "nan", "+7 ", "0.1"], object)


@pytest.mark.parametrize("kind", ["float", "double", "float16"])
def test_numbers_from_strings(kind, tmp_path):
    proto = model_from_text(f"g (string[N] x) => ({kind}[N] y) {{ y = Cast<to = {CODES[kind]}>(x) }}", 18)
    agree(tmp_path, proto, {"x": NUMBER_TEXTS})


CODES = {"float": 1, "int64": 7, "string": 8, "bool": 9, "float16": 10, "double": 11, "int8": 3, "uint8": 2, "uint64": 13}


@pytest.mark.parametrize("kind", ["int64", "int8", "bool"])
def test_integers_from_strings(kind, tmp_path):
    proto = model_from_text(f"g (string[N] x) => ({kind}[N] y) {{ y = Cast<to = {CODES[kind]}>(x) }}", 18)
    agree(tmp_path, proto, {"x": np.array(["0", "12", "-7", " 101"], object)})


@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "bool", "uint8", "uint64"])
def test_strings_from_numbers(kind, tmp_path):
    values = [0, 1, 2.5, 0.1, 1e4, -3, 65504] if kind in ("float", "double", "float16") else [0, 1, 250]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(CODES[kind])
    x = np.array([*values, *((np.nan, np.inf, -np.inf, -0.0) if dtype.kind == "f" else ())]).astype(dtype)
    proto = model_from_text(f"g ({kind}[N] x) => (string[N] y) {{ y = Cast<to = 8>(x) }}", 18)
    agree(tmp_path, proto, {"x": x})


def test_no_number(tmp_path):
    proto = model_from_text("g (string[N] x) => (float[N] y) { y = Cast<to = 1>(x) }", 18)
    program, _ = agree(tmp_path, proto, {"x": np.array(["1"], object)}, max_string_bytes=200)
    for text in ("", "one", "1.5x", "1" * 64 + "e", "1" * 150):
        with pytest.raises(penlight_runtime.InvalidValue, match="string 1 is no number"):
            program.session().run({"x": np.array(["1", text], object)})


COLORS = np.array([["red"], ["blue"], ["green"], ["black"], [""]], object)
FROM = {"keys_strings": ["red", "blue", "green", "red"]}
CODED = {
    "label-int": ("LabelEncoder", WHOLE, FROM | {"values_int64s": [5, 6, 7, 8], "default_int64": -3}),
    "label-float": ("LabelEncoder", ONLY, FROM | {"values_floats": [0.5, 0.25, 1.5, 2.0]}),
    "label-text": ("LabelEncoder", TEXTS, FROM | {"values_strings": ["r", "b", "gg", "x"], "default_string": "other"}),
    "label-unused": ("LabelEncoder", TEXTS, FROM | {"values_strings": ["r", "b", "gg", "x"]}),
    "one-hot": ("OneHotEncoder", ONLY, {"cats_strings": ["green", "red", "blue"], "zeros": 1}),
    "mapper": ("CategoryMapper", WHOLE, {"cats_strings": ["red", "blue"], "cats_int64s": [4, 2], "default_int64": 9}),
}


@pytest.mark.parametrize("name", CODED)
def test_coded_texts(name, tmp_path):
    operator, outputs, attributes = CODED[name]
    version = 2 if operator == "LabelEncoder" else 1
    agree(tmp_path, single(operator, {"x": COLORS}, outputs, version, **attributes), {"x": COLORS})


NUMBERED = {
    "label": ("LabelEncoder", {"keys_int64s": [0, 2], "values_strings": ["zero", "two"], "default_string": "?"}),
    "mapper": ("CategoryMapper", {"cats_strings": ["zero", "two"], "cats_int64s": [0, 2], "default_string": "?"}),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_texts_of_numbers(name, tmp_path):
    operator, attributes = NUMBERED[name]
    x = np.array([[0], [1], [2]])
    agree(tmp_path, single(operator, {"x": x}, TEXTS, 2 if name == "label" else 1, **attributes), {"x": x})


ROWS = RNG.standard_normal((40, 6)).astype(np.float32)
THREE, TWO = ({"classlabels_strings": names} for names in (["cat", "éléphant", "dog"], ["no", "yes"]))
MACHINE = {
    "vectors_per_class": [1, 2, 1],
    "support_vectors": (NUMBERS + NUMBERS)[:24],
    "coefficients": NUMBERS[:8],
    "rho": [0.1, -0.2, 0.05],
    "kernel_type": "RBF",
    "kernel_params": [0.3, 0.0, 3.0],
}
CLASSIFIERS = {
    "trees": (
        "TreeEnsembleClassifier",
        tree(BRANCHES, [(t, n, i, w * (i - 1)) for t, n, _, w in ONE for i in range(3)], "class", **THREE),
    ),
    "trees-pair": ("TreeEnsembleClassifier", tree(BRANCHES, ONE, "class", **TWO)),
    "linear": ("LinearClassifier", LINEAR | THREE),
    "linear-pair": ("LinearClassifier", {"coefficients": NUMBERS[:6], "intercepts": [0.1]} | TWO),
    "machine": ("SVMClassifier", MACHINE | THREE),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_text_labels(name, tmp_path):
    operator, attributes = CLASSIFIERS[name]
    _, found = agree(tmp_path, single(operator, {"x": ROWS}, NAMED, 3, **attributes), {"x": ROWS})
    assert len(set(found["y"].tolist())) > 1


def test_ngrams_of_texts(tmp_path):
    """TfIdfVectorizer, which scikit-learn's CountVectorizer becomes."""
    node = onnx.helper.make_node(
        "TfIdfVectorizer",
        ["x"],
        ["y"],
        mode="TFIDF",
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=1,
        ngram_counts=[0, 2],
        ngram_indexes=[0, 1, 2, 3],
        pool_strings=["a", "Red", "a", "Red", "été", "a"],
        weights=[1.0, 0.5, 2.0, 3.0],
    )
    ports = [onnx.helper.make_tensor_value_info("x", 8, ["N", "K"]), onnx.helper.make_tensor_value_info("y", 1, ["N", 4])]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    _, found = agree(tmp_path, proto, {"x": WORDS[RNG.integers(0, 5, (6, 9))]})
    assert found["y"].any()


@pytest.fixture
def echo(tmp_path):
    proto = model_from_text("g (string[N] x, float[N] f) => (string[N] y, float[N] g) { y = Identity(x)\n g = Identity(f) }", 18)
    path = tmp_path / "echo.onnx"
    path.write_bytes(proto.SerializeToString())
    return convert(path, tmp_path / "echo.pen", max_string_bytes=8).path


def test_declared(echo):
    program = penlight_runtime.Program.open(echo)
    assert program.metadata["strings.forward"] == '["x", "y"]'
    assert [(info.name, info.dtype, info.shape) for info in program.inputs()] == [
        ("x", np.dtype("S8"), ("N",)),
        ("f", np.dtype(np.float32), ("N",)),
    ]
    assert [port.dtype.kind for port in summarize(echo).inputs] == ["S", "f"]
    assert verify(echo.with_suffix(".onnx"), echo).ok


@pytest.mark.parametrize(
    "x",
    [
        np.array(["a", "éé"], object),
        np.array(["a", b"\xc3\xa9\xc3\xa9"], object),
        np.array(["a", "éé"]),
        np.array(["a", "éé"], object)[::-1],
        np.array([b"a", b"\xc3\xa9\xc3\xa9"], "S8"),
        np.array([b"a", b"12345678"], "S20"),
        np.array([], object),
        np.array([], "U3"),
    ],
    ids=lambda x: f"{x.dtype.str}-{x.size}",
)
def test_every_kind_of_strings(x, echo):
    session = penlight_runtime.Program.open(echo).session()
    found = session.run({"x": x, "f": np.zeros(x.size, np.float32)})["y"]
    assert found.dtype == object
    assert found.tolist() == [each.decode() if isinstance(each, bytes) else str(each) for each in x]


def test_results_in_place(echo):
    session, y = penlight_runtime.Program.open(echo).session(), np.empty(2, "S8")
    session.run({"x": np.array(["a", "b"]), "f": np.zeros(2, np.float32)}, {"y": y, "g": np.empty(2, np.float32)})
    assert y.tolist() == [b"a", b"b"]
    with pytest.raises(penlight_runtime.ShapeMismatch, match=r"C-contiguous array of \|S8"):
        session.run(
            {"x": np.array(["a", "b"]), "f": np.zeros(2, np.float32)}, {"y": y.astype(object), "g": np.empty(2, np.float32)}
        )


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (["ééééé"], penlight_runtime.InvalidValue, "a string has 10 bytes, this program takes at most 8.*max_string_bytes=10"),
        (["a\0b"], penlight_runtime.InvalidValue, "NUL"),
        (["a\0"], penlight_runtime.InvalidValue, "NUL"),
        (["\ud800"], penlight_runtime.InvalidValue, "no UTF-8"),
        ([1.5], penlight_runtime.ShapeMismatch, "element of type float"),
    ],
)
def test_strings_that_do_not_fit(x, error, words, echo):
    with pytest.raises(error, match=words):
        penlight_runtime.Program.open(echo).session().run({"x": np.array(x, object), "f": np.zeros(1, np.float32)})
    with pytest.raises(penlight_runtime.ShapeMismatch, match="expected strings, got float32"):
        penlight_runtime.Program.open(echo).session().run([np.zeros(1, np.float32)] * 2)


def test_wrong_marks_are_ignored():
    from penlight_runtime.strings import as_strings, string_names

    info = penlight_runtime.TensorInfo("x", np.dtype(np.float32), (3,))
    assert as_strings(info) == info
    assert as_strings(info._replace(dtype=np.dtype(np.uint8), shape=("N",))).shape == ("N",)
    for text in ("{", "[" * 100_000, "1", '{"a": 1}', "[1]"):
        assert string_names({"strings.forward": text}, "forward") == frozenset()


PATTERNS = {
    r"www\.[\w.-]+\.com": ["www.penlight.com", "www.x.com.", "www..com", ""],
    r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)": [
        "a.b@gmail.com",
        "x@yahoo.com\n",
        "@gmail.com ",
        "me@hotmail.com",
        "xé@gmail.com",
    ],
    r"[^a-c\d]+": ["xyz", "été", "\U0001f600", "xa", "1", ""],
    r"[α-ω]+|é{2,3}?.": ["αβγω", "éé", "ééé", "éééé", "αx"],
    r"^(?:a|ab)(?:c|bcd)*$": ["a", "abcd", "acbcd", "abc", "abd"],
    r"\D\S.": ["ab c", "abc", "a b", "ab\n", "\U00010ffffxy"],
    "": ["", "x"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern, tmp_path):
    node = onnx.helper.make_node("RegexFullMatch", ["x"], ["y"], pattern=pattern)
    ports = [onnx.helper.make_tensor_value_info(name, kind, ["N"]) for name, kind in (("x", 8), ("y", 9))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    _, found = agree(tmp_path, proto, {"x": np.array(PATTERNS[pattern], object)})
    assert found["y"].any()


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a(", "cannot be read"),
        (r"(a)\1", "groupref"),
        ("(?=a)b", "assert"),
        (r"a\bb", "at_boundary"),
        ("(?i)a", "flags"),
        ("(?i:a)", "flags"),
        ("a{9999}", "more than 4096 states"),
        ("(a|b)*a(a|b){13}", "more than 4096 states"),
    ],
)
def test_patterns_that_no_automaton_matches(pattern, words):
    with pytest.raises(UnsupportedPattern, match=words):
        automaton(pattern)


def test_what_cannot_be_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    branches = [f"{name}_branch = {name} () => (string[N] {name}_y) {{ {name}_y = Identity(x) }}" for name in ("then", "else")]
    body = f"y = If<{', '.join(branches)}>(c)"
    path.write_bytes(model_from_text(f"g (string[N] x, bool c) => (string[N] y) {{ {body} }}", 18).SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match="strings inside of a subgraph"):
        convert(path, tmp_path / "model.pen")
    weights = {"r": np.array(["a\0b"], object)}
    path.write_bytes(model_from_text("g (string[N] x) => (bool[N] y) { y = Equal(x, r) }", 18, weights).SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match="NUL"):
        convert(path, tmp_path / "model.pen")
    with pytest.raises(OptionError, match="max_string_bytes is 0"):
        convert(path, tmp_path / "model.pen", max_string_bytes=0)


def test_differences_of_strings():
    a, b = np.array([["x", "y"]], object), np.array([["x", "z"]], object)
    assert difference(a, a).scaled == 0
    found = difference(a, b)
    assert found.scaled == np.inf and found.worst == (0, 1) and found.note == "'y' against 'z'"


def table(rows):
    """Columns of a survey: two of texts, two of numbers, and a class by its name."""
    color, size = RNG.choice(["red", "green", "blue"], rows), RNG.choice(["small", "large", "größer"], rows)
    numbers = RNG.standard_normal((rows, 2)).astype(np.float32)
    score = (color == "red") * 1.5 + (size == "large") - numbers[:, 0]
    return color, size, numbers, np.where(score > 1, "buys", np.where(score > 0, "looks", "leaves"))


def estimators():
    pytest.importorskip("sklearn")
    from sklearn import compose, ensemble, linear_model, pipeline, preprocessing, svm

    def join(encoder, last):
        columns = [("text", encoder, [0, 1]), ("number", preprocessing.StandardScaler(), [2, 3])]
        return pipeline.make_pipeline(compose.ColumnTransformer(columns), last)

    one_hot, ordinal = preprocessing.OneHotEncoder(handle_unknown="ignore"), preprocessing.OrdinalEncoder()
    return {
        "one-hot-logistic": join(one_hot, linear_model.LogisticRegression()),
        "ordinal-forest": join(ordinal, ensemble.RandomForestClassifier(n_estimators=20, random_state=0)),
        "one-hot-svc": join(one_hot, svm.SVC(probability=True, random_state=0)),
    }


@pytest.mark.filterwarnings("ignore")  # skl2onnx and NumPy's deprecations
@pytest.mark.parametrize("name", ["one-hot-logistic", "ordinal-forest", "one-hot-svc"])
def test_pipelines_of_scikit_learn(name, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    color, size, numbers, labels = table(160)
    frame = np.column_stack([color.astype(object), size.astype(object), *numbers.astype(object).T])
    estimator = estimators()[name].fit(frame, labels)
    kinds = skl2onnx.common.data_types
    types = [(column, kinds.StringTensorType([None, 1])) for column in ("color", "size")]
    types += [(column, kinds.FloatTensorType([None, 1])) for column in ("a", "b")]
    proto = skl2onnx.convert_sklearn(
        estimator, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3}, options={"zipmap": False}
    )
    inputs = {
        "color": color.astype(object)[:, None],
        "size": size.astype(object)[:, None],
        "a": numbers[:, :1],
        "b": numbers[:, 1:],
    }
    _, found = agree(tmp_path, proto, inputs)
    assert np.mean(next(iter(found.values())) == estimator.predict(frame)) > 0.99
    assert convert(tmp_path / "model.onnx", tmp_path / "again.pen").report.ok  # with random rows of its own categories


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_dictionary_of_labels(tmp_path):
    """ZipMap with names of classes: the probabilities come as rows, the labels as strings."""
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression

    labels = np.where(ROWS[:, 0] > 0.5, "high", np.where(ROWS[:, 0] > -0.5, "middle", "low"))
    estimator = LogisticRegression().fit(ROWS, labels)
    types = [("x", skl2onnx.common.data_types.FloatTensorType([None, 6]))]
    proto = skl2onnx.convert_sklearn(estimator, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3})
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    session = penlight_runtime.Program.open(convert(path, tmp_path / "model.pen").path).session()
    found = list(session.run({"x": ROWS}).values())
    assert found[0].tolist() == estimator.predict(ROWS).tolist()
    np.testing.assert_allclose(found[1], estimator.predict_proba(ROWS), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # as above
def test_linear_svc(tmp_path):
    """Alone: skl2onnx 1.20 does not export it at the end of a pipeline."""
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.svm import LinearSVC

    labels = np.where(ROWS[:, 0] > 0.5, "high", np.where(ROWS[:, 0] > -0.5, "middle", "low"))
    estimator = LinearSVC(random_state=0).fit(ROWS, labels)
    types = [("x", skl2onnx.common.data_types.FloatTensorType([None, 6]))]
    proto = skl2onnx.convert_sklearn(estimator, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3})
    _, found = agree(tmp_path, proto, {"x": ROWS})
    assert found["label"].tolist() == estimator.predict(ROWS).tolist()
