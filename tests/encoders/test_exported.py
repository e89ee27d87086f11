import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.exported import OnnxModel, read_card_file
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

CARD = 'file = "model.onnx"\nsampling_rate = 100\nseconds = 2\nleads = "II V1"\npretrained_on = []\n'


def export(path, *, batch="batch", leads=2, kind=TensorProto.FLOAT):
    """Write a model that takes the mean over time."""
    node = helper.make_node("ReduceMean", ["signals", "axes"], ["embedding"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "means",
        [helper.make_tensor_value_info("signals", kind, [batch, leads, 200])],
        [helper.make_tensor_value_info("embedding", kind, [batch, leads])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def card(tmp_path):
    def write(text=CARD, **model):
        export(tmp_path / "model.onnx", **model)
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        return tmp_path / "mine.toml"

    return write


def batch_of(n=5):
    signals = np.random.default_rng(0).normal(size=(n, 12, 200)).astype(np.float32)
    return RecordBatch(signals, LEADS, 100.0, tuple(f"r{i}" for i in range(n)))


@pytest.mark.parametrize("exported_batch", ["batch", 1, 5])
def test_an_exported_model_embeds_the_leads_of_its_card(card, exported_batch):
    found, model = read_card_file(card(batch=exported_batch))
    assert (found.name, found.leads) == ("mine", ("II", "V1"))
    batch = batch_of()
    out = Encoder(found, OnnxModel(model)).embed_batch(batch)
    np.testing.assert_allclose(out, batch.signals[:, [1, 6]].mean(axis=-1), atol=1e-6)


def test_the_files_content_is_the_models_identity(card, tmp_path):
    found, path = read_card_file(card(CARD + 'version = "1"\n'))
    first = Encoder(found, OnnxModel(path))
    assert len(first.weights_sha256) == 64
    assert first.fingerprint == Encoder(found, OnnxModel(path)).fingerprint
    export(path, batch=1)
    assert Encoder(found, OnnxModel(path)).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file = None and name = 'mine' should be text"),
        (CARD.replace("model.onnx", "../model.onnx"), "is outside the card's folder"),
        (CARD.replace("model.onnx", "/etc/passwd"), "is outside the card's folder"),
        (CARD.replace("model.onnx", "none.onnx"), "no such file"),
        (CARD.replace("model.onnx", "mine.toml"), "should be an .onnx file"),
        (CARD + 'input = "tensor"\n', "takes an 'array'"),
        (CARD + "sampling_freq = 100\n", "unknown field 'sampling_freq'. Did you mean 'sampling_rate'?"),
        ("file = ", "card "),
    ],
)
def test_a_bad_card_is_one_line(card, text, message):
    with pytest.raises(EcgfmError) as caught:
        read_card_file(card(text))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EcgfmError, match="onnxruntime cannot open it"):
        OnnxModel(tmp_path / "model.onnx")


def test_a_model_with_other_inputs(tmp_path):
    with pytest.raises(EcgfmError, match="should be one float tensor"):
        OnnxModel(export(tmp_path / "model.onnx", kind=TensorProto.DOUBLE))


def test_a_batch_that_does_not_fit_in_memory_is_halved():
    sizes = []

    def model(signals):
        sizes.append(len(signals))
        if len(signals) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return signals.mean(-1)

    batch = batch_of(7)
    encoder = Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 2}, where=""), model)
    np.testing.assert_allclose(encoder.embed_batch(batch), batch.signals.mean(-1), atol=1e-6)
    assert sizes[0] == 7
    assert max(size for size in sizes if size <= 2) == 2


def test_a_record_that_does_not_fit_in_memory_is_named():
    def model(signals):
        raise MemoryError

    encoder = Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 2}, where=""), model)
    with pytest.raises(EcgfmError, match="record r0: not enough memory on cpu for a batch of one"):
        encoder.embed_batch(batch_of(4))


def test_other_errors_of_a_model_are_its_own():
    def model(signals):
        raise RuntimeError("shapes differ")

    encoder = Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 2}, where=""), model)
    with pytest.raises(RuntimeError, match="shapes differ"):
        encoder.embed_batch(batch_of(4))


def export_with_weights(path, location, weights, *, within=""):
    """Write a model whose weights are in another file; `within` puts them into a branch or a function of the graph."""
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=weights.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(weights.nbytes))):
        tensor.external_data.add(key=key, value=value)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 2, 200])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", weights.shape[1]])]
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], axes=[2], keepdims=0)]
    if within == "constant":
        nodes += [helper.make_node("Constant", [], ["W"], value=tensor)]
    nodes += [helper.make_node("MatMul", ["m", "W"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [] if within == "constant" else [tensor])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )


def weights_of(seed):
    return np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)


def test_weights_in_another_file_belong_to_the_models_identity(tmp_path):
    def made(seed):
        weights_of(seed).tofile(tmp_path / "m.data")
        export_with_weights(tmp_path / "m.onnx", "m.data", weights_of(seed))
        return OnnxModel(tmp_path / "m.onnx").sha256

    assert made(0) == made(0) != made(1)


@pytest.mark.parametrize(
    "location", ["../out/m.data", "ABSOLUTE", "link.data", "folder/m.data", "a/../../out/m.data", ""]
)
@pytest.mark.parametrize("within", ["", "constant"])
def test_weights_outside_the_models_folder_are_refused(tmp_path, location, within):
    inside, out = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    out.mkdir()
    weights_of(0).tofile(out / "m.data")
    (inside / "link.data").symlink_to(out / "m.data")
    (inside / "folder").symlink_to(out)
    location = str(out / "m.data") if location == "ABSOLUTE" else location
    export_with_weights(inside / "m.onnx", location, weights_of(0), within=within)
    with pytest.raises(EcgfmError, match=r"outside the model's folder|no such file") as caught:
        OnnxModel(inside / "m.onnx")
    assert len(str(caught.value).splitlines()) == 1


def test_weights_that_are_missing(tmp_path):
    export_with_weights(tmp_path / "m.onnx", "none.data", weights_of(0))
    with pytest.raises(EcgfmError, match=r"m\.onnx: weights in 'none\.data': no such file"):
        OnnxModel(tmp_path / "m.onnx")
