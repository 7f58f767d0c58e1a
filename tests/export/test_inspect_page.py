# SPDX-License-Identifier: Apache-2.0
"""The page of `penlight inspect --html`: what is in it, that no file can break out of it, and how it behaves in a browser."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight.models import CharGPT, ResNet
from penlight_export import Method, convert, export, export_methods
from penlight_export.errors import OptionError
from penlight_export.histogram import describe_numbers
from penlight_export.inspection import graph_facts, inspect_page, inspection
from penlight_export.page.document import write_page
from penlight_export.profiling import profile_model, read_profile, times_of
from penlight_export.structure import GraphNode, GraphValue, Structure

EVIL = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>{{script}}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small ResNet and a small transformer as .onnx and .pen."""
    folder = tmp_path_factory.mktemp("models")
    pl.manual_seed(0)
    resnet = ResNet((2, 2, 2, 2), classes=10, width=8).eval()
    gpt = CharGPT(20, context=16, size=16, layers=2, heads=2).eval()
    ids = pl.tensor(np.arange(16).reshape(2, 8))
    with pl.no_grad():
        exports = {
            "resnet": export(resnet, {"x": pl.randn(1, 3, 32, 32)}, dynamic={"x": {0: "batch"}}, verify=False),
            "gpt": export(gpt, {"ids": ids}, dynamic={"ids": {0: "batch", 1: "time"}}, verify=False),
        }
    for name, exported in exports.items():
        for suffix in ("onnx", "pen"):
            exported.save(folder / f"{name}.{suffix}")
    return folder


def page_data(page: bytes):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.decode(), re.S)[1])


@pytest.mark.parametrize("name", ["resnet.onnx", "resnet.pen", "gpt.onnx", "gpt.pen"])
def test_the_page_stands_alone_and_runs_its_own_scripts_only(files, name):
    text = inspect_page(files / name).decode()
    assert not re.search(r"(?:https?:)?//[\w.]+\.\w+/", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"<(?:link|iframe|object|img|base|form)\b|\bsrc=|\bstyle=|@import|url\(", text)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (body,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_data_are_those_of_the_file(files):
    data = inspection(files / "resnet.pen")
    assert data["model"]["macs"] == sum(node["macs"] for node in data["graph"]["nodes"])
    assert data["plan"]["arena_bytes"] == data["model"]["arena_bytes"]
    assert data["plan"]["arena_bytes"] == max(offset + size for _, _, offset, size, _, _ in data["plan"]["blocks"])
    assert len(data["graph"]["nodes"]) == data["plan"]["steps"] and data["sizes"] == {"x": [1, 3, 32, 32]}
    weights = {data["graph"]["values"][k]["name"]: facts for k, facts in data["weights"].items()}
    assert weights["fc.weight"]["size"] == sum(weights["fc.weight"]["counts"]) == 640
    assert any(node["module"] == ("layer4", "0", "conv1") and node["source"] for node in data["graph"]["nodes"])
    assert inspection(files / "resnet.onnx")["plan"] is None


def test_shapes_keep_their_names_and_bytes_are_those_of_the_sample(files):
    (value,) = [v for v in inspection(files / "gpt.pen")["graph"]["values"] if v["name"] == "output"]
    assert value["shape"] == ("batch", "time", 20) and value["bytes"] == 1 * 8 * 20 * 4


def test_weights_in_the_files_are_what_they_were(files):
    for name in ("gpt.onnx", "gpt.pen"):
        data = inspection(files / name)
        (key,) = [k for k in data["weights"] if data["graph"]["values"][k]["name"] == "token.weight"]
        facts = data["weights"][key]
        pl.manual_seed(0)
        ResNet((2, 2, 2, 2), classes=10, width=8)
        weight = CharGPT(20, context=16, size=16, layers=2, heads=2).state_dict()["token.weight"].numpy()
        assert facts["low"] == pytest.approx(weight.min()) and facts["std"] == pytest.approx(weight.std(), rel=1e-5)


@pytest.mark.parametrize("name", ["gpt.onnx", "gpt.pen"])
def test_measured_times_of_every_node(files, tmp_path, name):
    profile = profile_model(files / name, runs=3)
    path = tmp_path / "times.json"
    path.write_text(json.dumps(profile.to_json()))
    assert read_profile(path) == profile
    nodes = inspection(files / name, profile)["graph"]["nodes"]
    assert [node["ns"] for node in nodes] == [each.nanoseconds for each in profile.nodes]
    assert sum(node["ns"] for node in nodes) > 0
    assert times_of(profile, [("no such node", "Add")]) == [None]
    path.write_text('{"schema": "something else"}')
    with pytest.raises(OptionError, match="expected the file of 'penlight bench --profile'"):
        read_profile(path)


class TwoMethods(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def encode(self, x):
        return self.first(x).relu()

    def answer(self, code):
        return self.second(code).tanh()


def test_methods_of_one_file(tmp_path):
    module = TwoMethods().eval()
    methods = {"encode": Method(module.encode, (pl.randn(3, 4),)), "answer": Method(module.answer, (pl.randn(2, 6),))}
    path = export_methods(methods).save(tmp_path / "m.pen")
    for name, size in (("encode", [3, 4]), ("answer", [2, 6])):
        data = inspection(path, profile_model(path, runs=2, method=name), name)
        assert data["model"]["method"] == name and list(data["sizes"].values()) == [size]
        assert data["plan"]["steps"] == len(data["graph"]["nodes"]) and all(
            node["ns"] is not None for node in data["graph"]["nodes"]
        )
    assert inspection(path)["model"]["method"] == "encode"
    with pytest.raises(OptionError, match="there is no method 'decode'"):
        inspect_page(path, method="decode")


def test_numbers_of_tensors():
    facts = describe_numbers(np.array([0, 1, 1, 4, np.nan, -np.inf], np.float32))
    assert facts["size"] == 6 and facts["nonfinite"] == 2 and facts["zeros"] == 0.25 and sum(facts["counts"]) == 4
    assert describe_numbers(np.full(3, np.nan)) == {"size": 3, "nonfinite": 3}
    assert describe_numbers(np.full((2, 2), 7))["counts"] == [4]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "model.txt").write_text("x")
    with pytest.raises(OptionError, match=r"expected an \.onnx or \.pen file"):
        inspect_page(tmp_path / "model.txt")


def evil_page():
    values = [GraphValue(f"{EVIL}{k}", "float32", (EVIL, 2), None if k != 1 else lambda: np.arange(32.0), 8) for k in range(3)]
    nodes = [GraphNode(EVIL, f"{EVIL}.{EVIL}", (0, 1), (2,), (EVIL, "a"), EVIL, {EVIL: EVIL}, 7)]
    facts = {
        "path": EVIL,
        "format": "pen",
        "method": EVIL,
        "methods": [EVIL, EVIL],
        "operators": {EVIL: 1},
        "inputs": [],
        "outputs": [],
        "metadata": {EVIL: EVIL},
    }
    facts |= {"file_bytes": 1, "weight_bytes": 1, "parameters": 1, "macs": 7, "arena_bytes": 64}
    plan = {"arena_bytes": 64, "steps": 1, "blocks": [[2, -1, 0, 64, 0, 1]]}
    graph = graph_facts(Structure("pen", values, nodes, [0], [2]))
    weights = {1: describe_numbers(np.arange(32.0))}
    data = {"model": facts, "graph": graph, "plan": plan, "weights": weights, "profile": None, "sizes": {}}
    return write_page(EVIL, "inspect", data)


def test_names_cannot_end_the_script():
    text = evil_page().decode()
    assert text.count("<script") == 2 and "<img" not in text and text.count("</script>") == 2
    assert page_data(evil_page())["graph"]["nodes"][0]["name"] == EVIL
    assert page_data(write_page("t", "inspect", {"odd": [float("nan"), float("-inf"), "\ud800"]}))["odd"][:2] == ["nan", "-inf"]


# In a browser

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(browser, tmp_path):
    """Opens a page and asserts in the end that no script complained and nothing was fetched."""

    def show(page: bytes, scheme: str = "light") -> Chromium:
        path = tmp_path / "page.html"
        path.write_bytes(page)
        browser.open(path, scheme)
        return browser

    yield show
    assert not browser.complaints
    assert all(address.startswith("file:") and address.endswith("page.html") for address in browser.requests)


def tab(browser, name):
    browser.evaluate(f"document.getElementById('tab-{name}').click()")
    browser.settle()


def selected(browser):
    return browser.evaluate("penlight.graph.scene.selected && penlight.graph.scene.selected.title")


@needs_chromium
def test_texts_from_a_file_stay_texts(shown):
    browser = shown(evil_page())
    browser.evaluate("penlight.graph.reveal(penlight.graph.model.nodes[0])")
    for name in ("graph", "layers", "memory", "weights", "tensors", "about"):
        tab(browser, name)
    assert browser.evaluate("window.broken") is None
    assert browser.evaluate("document.querySelectorAll('img, iframe').length") == 0
    assert EVIL in browser.evaluate("document.body.textContent")


@needs_chromium
@pytest.mark.parametrize("name", ["resnet.pen", "gpt.onnx"])
def test_boxes_do_not_overlap_and_arrows_point_down(shown, files, name):
    browser = shown(inspect_page(files / name))
    for depth in (1, 2, 9):
        browser.evaluate(f"penlight.graph.setDepth({depth})")
        overlaps = """penlight.graph.scene.layout.layers.reduce((sum, layer) => sum + layer.filter((v, k) =>
            k && v.x - v.width / 2 < layer[k - 1].x + layer[k - 1].width / 2 + GAP - 1).length, 0)"""
        assert browser.evaluate(overlaps) == 0
        upwards = """penlight.graph.scene.edges.filter((e) => !e.backward &&
            penlight.graph.scene.boxes[e.source].y >= penlight.graph.scene.boxes[e.target].y).length"""
        assert browser.evaluate(upwards) == 0
        assert browser.evaluate("penlight.graph.scene.boxes.length") > 3
    assert browser.evaluate("penlight.graph.scene.boxes.length") == len(page_data(inspect_page(files / name))["graph"]["nodes"]) + 2


@needs_chromium
def test_keys_alone_are_enough(shown, files):
    browser = shown(inspect_page(files / "resnet.pen"))
    browser.evaluate("penlight.graph.canvas.focus()")
    browser.press("ArrowDown")
    assert selected(browser) == "x"
    for _ in range(3):
        browser.press("ArrowDown")
    assert selected(browser) == "FusedConv"
    assert "layer1.0.conv1" in browser.evaluate("document.querySelector('.details').textContent")
    before = browser.evaluate("penlight.graph.scene.boxes.length")
    browser.press("Enter")  # folds the module of the node
    assert selected(browser) == "conv1" and browser.evaluate("penlight.graph.scene.boxes.length") == before
    browser.press("Enter")
    assert selected(browser) == "FusedConv"
    browser.press("+")
    browser.press("Escape")
    assert selected(browser) is None
    browser.evaluate("document.activeElement.blur()")
    browser.press("/")
    assert browser.evaluate("document.activeElement === penlight.graph.search")
    for letter in "layer3.0":
        browser.press(letter)
    assert browser.evaluate("penlight.graph.hits.textContent") == "3 found"
    browser.press("Enter")
    assert browser.evaluate("penlight.graph.scene.selected.node.module.join('.')").startswith("layer3.0")


@needs_chromium
def test_folding_to_the_outermost_modules(shown, files):
    browser = shown(inspect_page(files / "gpt.onnx"))
    everything = browser.evaluate("penlight.graph.scene.boxes.length")
    browser.evaluate("penlight.graph.setDepth(1)")
    titles = browser.evaluate("penlight.graph.scene.boxes.filter(b => b.kind === 'module').map(b => b.title)")
    assert "blocks" in titles and browser.evaluate("penlight.graph.scene.boxes.length") < everything / 2
    browser.evaluate("penlight.graph.reveal(penlight.graph.model.nodes.find(n => n.module.join('.') === 'blocks.1.up'))")
    assert browser.evaluate("penlight.graph.scene.selected.kind") == "node"
    assert browser.evaluate("penlight.graph.scene.boxes.filter(b => b.kind === 'module').map(b => b.title)").count("blocks.0") == 1


@needs_chromium
def test_memory_tells_what_lives_at_a_step(shown, files):
    browser = shown(inspect_page(files / "resnet.pen"))
    tab(browser, "memory")
    plan = inspection(files / "resnet.pen")["plan"]
    browser.evaluate("penlight.memory.goTo(5); penlight.memory.canvas.focus()")
    browser.press("ArrowRight")
    assert browser.evaluate("penlight.memory.step") == 6
    used = sum(size for _, _, _, size, first, last in plan["blocks"] if first <= 6 <= last)
    assert browser.evaluate("penlight.memory.live[6]") == used
    assert "steps" in browser.evaluate("penlight.memory.panel.textContent")


@needs_chromium
def test_tables_sort_and_lead_back_to_the_graph(shown, files):
    browser = shown(inspect_page(files / "gpt.pen", measure=True))
    tab(browser, "layers")
    browser.evaluate("[...document.querySelectorAll('#panel-layers th button')].find(b => b.textContent === 'MACs').click()")
    first = browser.evaluate("document.querySelector('#panel-layers tbody tr').cells[2].textContent")
    nodes = inspection(files / "gpt.pen")["graph"]["nodes"]
    assert {n["macs"] for n in nodes if n["name"] == first} == {max(n["macs"] for n in nodes)}
    browser.evaluate("document.querySelector('#panel-layers tbody tr button.link').click()")
    assert browser.evaluate("penlight.graph.scene.selected.node.name") == first
    tab(browser, "weights")
    assert browser.evaluate("document.querySelectorAll('.card svg').length") > 10


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme(shown, files, tmp_path, scheme):
    from PIL import Image

    picture = shown(inspect_page(files / "resnet.pen"), scheme).picture(tmp_path / "page.png")
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    background = pixels[700, 300]
    assert (background < 60).all() if scheme == "dark" else (background > 230).all()
    assert len(np.unique(pixels @ (1, 256, 65536))) > 100  # the graph is drawn


def large_structure(count):
    """Blocks of branches with values that are read much later, as a large transformer has them."""
    values, nodes = [GraphValue("x", "float32", ("batch", 64), None, 256)], []
    for number in range(count):
        kept = 1 + 40 * (number // 40) if number >= 40 else 0
        inputs = (
            (number, kept) if number % 5 == 0 and kept <= number else (number, max(0, number - 3)) if number % 3 == 0 else (number,)
        )
        values.append(GraphValue(f"v{number}", "float32", ("batch", 64), None, 256))
        module = ("layers", str(number // 40), ("attention", "mlp")[number // 20 % 2])
        operator = ("MatMul", "Add", "Relu", "LayerNormalization")[number % 4]
        nodes.append(GraphNode(f"node_{number}", operator, inputs, (number + 1,), module, "model.py:1", {}, number))
    return Structure("onnx", values, nodes, [0], [count])


@needs_chromium
def test_two_thousand_nodes_stay_fluid(shown, record_property):
    """Only what is in the window is drawn; the figures are in the report of the test run, since machines differ."""
    facts = {
        "path": "large.onnx",
        "format": "onnx",
        "methods": [],
        "operators": {},
        "inputs": [],
        "outputs": [],
        "metadata": {},
        "parameters": 0,
    }
    facts |= {"file_bytes": 0, "weight_bytes": 0, "macs": 0, "arena_bytes": None}
    data = {"model": facts, "graph": graph_facts(large_structure(2000)), "plan": None, "weights": {}, "profile": None, "sizes": {}}
    browser = shown(write_page("large", "inspect", data))
    assert browser.evaluate("penlight.graph.scene.boxes.length") <= 260  # folded at first
    layout = browser.evaluate(
        "(() => { const start = performance.now(); penlight.graph.setDepth(9); return performance.now() - start; })()"
    )
    assert browser.evaluate("penlight.graph.scene.boxes.length") == 2002
    browser.settle()
    for scale in (1, 0.3, 0.03):
        browser.evaluate(f"penlight.graph.scene.zoom({scale} / penlight.graph.scene.view.scale, 500, 200)")
        browser.evaluate("penlight.graph.scene.frames = { count: 0, milliseconds: 0, longest: 0 }")
        before = browser.evaluate("penlight.graph.scene.view.y")
        browser.mouse("mousePressed", 500, 400, button="left", buttons=1, clickCount=1)
        for step in range(20):
            browser.mouse("mouseMoved", 500, 400 - 12 * step, button="left", buttons=1)
            browser.evaluate("new Promise(requestAnimationFrame)")
        browser.mouse("mouseReleased", 500, 172, button="left", buttons=0)
        assert browser.evaluate("penlight.graph.scene.view.y") - before == pytest.approx(228 / scale, rel=0.05)
        frames = browser.evaluate("penlight.graph.scene.frames")
        assert frames["count"] >= 10
        drawn = f"scale {scale}: {frames['milliseconds'] / frames['count']:.2f} ms a frame, longest {frames['longest']:.1f} ms"
        print(f"2,000 nodes laid out in {layout:.0f} ms; {drawn}")
        record_property(f"frame_ms_at_{scale}", frames["milliseconds"] / frames["count"])


@needs_chromium
def test_layout_takes_linear_work(shown):
    """Vertices of the layout, passing points included, grow no faster than the graph."""
    counts = []
    for size in (500, 2000):
        facts = {
            "path": "m",
            "format": "onnx",
            "methods": [],
            "operators": {},
            "inputs": [],
            "outputs": [],
            "metadata": {},
            "parameters": 0,
        }
        facts |= {"file_bytes": 0, "weight_bytes": 0, "macs": 0, "arena_bytes": None}
        data = {
            "model": facts,
            "graph": graph_facts(large_structure(size)),
            "plan": None,
            "weights": {},
            "profile": None,
            "sizes": {},
        }
        browser = shown(write_page("m", "inspect", data))
        browser.evaluate("penlight.graph.setDepth(9)")
        counts.append(browser.evaluate("penlight.graph.scene.layout.layers.reduce((sum, layer) => sum + layer.length, 0)"))
    assert counts[1] < 4.5 * counts[0]


@needs_chromium
def test_an_onnx_file_of_others(shown, tmp_path):
    """Slashes in names are modules; an input that nothing reads, and a node without a name, are no trouble."""
    model = model_from_text("g (float[N,4] x, float[N] unused) => (float[N,4] y) { a = Tanh(x) b = Neg(a) y = Add(a, b) }")
    for node, name in zip(model.graph.node, ("/encoder/layer.0/Tanh", "/encoder/layer.0/Neg", ""), strict=True):
        node.name = name
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    browser = shown(inspect_page(tmp_path / "m.onnx"))
    browser.evaluate("penlight.graph.setDepth(1)")
    assert browser.evaluate("penlight.graph.scene.boxes.map(b => b.title)") == ["x", "unused", "encoder", "Add", "y"]


NESTED = """g (float[3] x, bool c, int64 n) => (float[3] y) {
    y = If (c) <
        then_branch = then () => (float[3] t) {
            k = Constant<value = bool {1}>()
            t = Loop (n, k, x) <
                body = step (int64 i, bool go, float[3] s) => (bool on, float[3] r) { on = Identity(go) r = Add(s, x) }
            >
        },
        else_branch = other () => (float[3] e) { a = Neg(x) e = Relu(a) }
    >
}"""


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """An If with a Loop inside, as .onnx and .pen."""
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "m.onnx").write_bytes(model_from_text(NESTED).SerializeToString())
    convert(folder / "m.onnx", folder / "m.pen", verify=False)
    return folder


@pytest.mark.parametrize("name", ["m.onnx", "m.pen"])
def test_nodes_of_bodies(nested, name):
    graph = inspection(nested / name)["graph"]
    assert [node["operator"] for node in graph["nodes"] if "owner" not in node] == ["If"]
    inside = {node["operator"]: node for node in graph["nodes"] if "owner" in node}
    assert {"Loop", "Add", "Neg", "Relu"} <= set(inside)
    assert graph["nodes"][inside["Add"]["owner"]]["operator"] == "Loop"
    assert len(inside["Add"]["module"]) == 2 and inside["Add"]["module"][0] == inside["Loop"]["module"][0]
    assert inside["Add"]["module"][1].endswith(" body") and inside["Neg"]["module"][0].endswith(" else_branch")
    results = {graph["values"][value]["name"] for value in graph["nodes"][0]["results"]}
    assert results == {graph["values"][inside[operator]["outputs"][0]]["name"] for operator in ("Loop", "Relu")}


@needs_chromium
@pytest.mark.parametrize("name", ["m.onnx", "m.pen"])
def test_bodies_fold_and_unfold(shown, nested, name):
    browser = shown(inspect_page(nested / name))
    titles = "penlight.graph.scene.boxes.map(b => b.title)"
    browser.evaluate("penlight.graph.setDepth(1)")
    folded = browser.evaluate(titles)
    assert "If" in folded and len([title for title in folded if title.endswith("_branch")]) == 2 and "Neg" not in folded
    browser.evaluate("penlight.graph.unfold(penlight.graph.scene.boxes.find(b => b.title.endsWith('else_branch')).path)")
    assert {"Neg", "Relu"} <= set(browser.evaluate(titles))
    browser.evaluate("penlight.graph.setDepth(9)")
    assert {"Loop", "Add"} <= set(browser.evaluate(titles))
    # The branches read x and the If reads them: every edge leads downwards.
    edge = "penlight.graph.scene.edges.map(e => [e.source, e.target].map(k => penlight.graph.scene.boxes[k].title).join(' '))"
    assert {"x Neg", "Neg Relu", "Relu If", "Loop If", "Add Loop", "x Add"} <= set(browser.evaluate(edge))
    assert not browser.evaluate("penlight.graph.scene.edges.some(e => e.backward)")
