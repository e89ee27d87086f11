"""Only a real numeric array is an embedding; anything else is one line that says what it is."""

import dataclasses
from collections import OrderedDict, namedtuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_ecgfm.encoders.returned import real_array
from pytest_ecgfm.errors import NotAnEmbedding

SHAPE = (3, 4)
ONES = np.ones(SHAPE)
Named = namedtuple("Named", ["pooled_output", "last_hidden_state"])


@dataclasses.dataclass
class Output(OrderedDict):
    """Shaped like the outputs of the library of transformers: a dictionary and a dataclass at once."""

    last_hidden_state: object = None
    pooler_output: object = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            self[field.name] = getattr(self, field.name)


class Refusing:
    """Raises where an array is asked for."""

    def __array__(self, *_, **__):
        raise RuntimeError("not on this device\nand more")


NO = {  # made when they are asked for: some kinds of tensors warn that they are young
    "masked": (lambda: np.ma.masked_array(ONES, ONES > 0), "a masked array"),
    "masked where nothing is": (lambda: np.ma.masked_array(ONES), "a masked array"),
    "complex": (lambda: ONES + 1j, "complex128"),
    "text": (lambda: np.full(SHAPE, "0.5"), "text"),
    "bytes": (lambda: np.full(SHAPE, b"0.5"), "bytes"),
    "truth values": (lambda: ONES > 0, "truth values"),
    "dates": (lambda: np.zeros(SHAPE, "datetime64[s]"), "dates"),
    "durations": (lambda: np.zeros(SHAPE, "timedelta64[s]"), "durations"),
    "objects": (lambda: ONES.astype(object), "Python objects"),
    "fields": (lambda: np.zeros(SHAPE, [("a", "f4")]), "void32"),
    "ragged": (lambda: [[1.0, 2.0], [1.0]], "list"),
    "sparse matrix": (lambda: scipy.sparse.csr_matrix(ONES), "sparse csr_matrix.*toarray"),
    "sparse array": (lambda: scipy.sparse.coo_array(ONES), "sparse coo_array"),
    "sparse tensor": (lambda: torch.ones(SHAPE).to_sparse(), "sparse tensor.*to_dense"),
    "compressed tensor": (lambda: torch.ones(SHAPE).to_sparse_csr(), "sparse tensor"),
    "meta": (lambda: torch.ones(SHAPE, device="meta"), "meta device"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(SHAPE), 0.1, 0, torch.qint8), "quantized.*dequantize"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]), "nested"),
    "complex tensor": (lambda: torch.ones(SHAPE, dtype=torch.complex64), "complex64"),
    "boolean tensor": (lambda: torch.ones(SHAPE) > 0, "truth values"),
    "missing values": (lambda: pd.DataFrame({"a": [1, "x", 2]}), "Python objects"),
    "nothing": (lambda: None, "a NoneType, but should return an array"),
    "a set": (lambda: {1.0}, "a set, but should return an array"),
    "too large": (lambda: ONES * 1e39, "values up to 1e\\+39.*too large for float32"),
    "too large, a tensor": (lambda: torch.full(SHAPE, -1e39, dtype=torch.float64), "too large for float32"),
    "refusing": (lambda: Refusing(), r"a Refusing, but should return an array \(not on this device\)"),
    "a dictionary": (
        lambda: {"logits": ONES, "features": ONES},
        "a dict with logits .*return one of them, such as features",
    ),
    "a tuple": (lambda: (ONES, ONES), r"a tuple with \[0\] \(3, 4\), \[1\] \(3, 4\)"),
    "an empty dictionary": (lambda: OrderedDict(), "an OrderedDict|a OrderedDict"),
    "a named tuple": (
        lambda: Named(ONES, ONES[:, None]),
        "a Named with pooled_output .*such as pooled_output or the mean of last",
    ),
    "a model's output": (
        lambda: Output(torch.ones(3, 5, 4), torch.ones(3, 4)),
        r"a Output with last_hidden_state \(3, 5, 4\), pooler_output \(3, 4\), but should return one array .*"
        r"return one of them, such as pooler_output or the mean of last_hidden_state over its tokens\.$",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", NO)
def test_what_is_no_real_array_is_one_line(what):
    make, says = NO[what]
    out = make()
    with pytest.raises(NotAnEmbedding, match=says) as caught:
        real_array(out, "model 'm'")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model 'm': returned ")


def test_fields_that_are_many_are_not_all_named():
    with pytest.raises(NotAnEmbedding, match="and 12 more"):
        real_array({f"layer{number}": ONES for number in range(20)}, "m")


@given(
    hnp.arrays(
        st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes()),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=4),
    )
)
def test_real_numbers_keep_their_value_or_are_refused(array):
    with np.errstate(over="ignore"):
        expected = array.astype(np.float32)
    if np.isinf(expected[np.isfinite(array)]).any():
        with pytest.raises(NotAnEmbedding, match="too large for float32"):
            real_array(array, "m")
        return
    for given_one in (array, array[::-1][::-1], array.tolist() if array.dtype.itemsize <= 8 else array):
        found = real_array(given_one, "m")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@given(
    hnp.arrays(
        st.one_of(
            hnp.complex_number_dtypes(),
            hnp.boolean_dtypes(),
            hnp.datetime64_dtypes(),
            hnp.timedelta64_dtypes(),
            hnp.byte_string_dtypes(min_len=1),
            hnp.unicode_string_dtypes(min_len=1),
        ),
        (2, 3),
    )
)
def test_no_other_array_is_ever_cast(array):
    with pytest.raises(NotAnEmbedding, match="but should return real numbers"):
        real_array(array, "m")


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.uint8]
)
def test_tensors_of_any_real_kind(kind):
    out = torch.arange(6, dtype=kind).reshape(2, 3)
    np.testing.assert_array_equal(real_array(out, "m"), np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_tensor_with_gradients_and_views():
    out = torch.arange(6.0).reshape(2, 3).requires_grad_(True) * 2
    np.testing.assert_array_equal(real_array(out.T, "m"), 2 * np.arange(6, dtype=np.float32).reshape(2, 3).T)


@pytest.mark.parametrize("make", [lambda a: a, torch.from_numpy], ids=["array", "tensor"])
def test_the_model_may_write_into_its_memory_again(make):
    memory = np.ones((2, 3), np.float32)
    first = real_array(make(memory), "m")
    memory[:] = 5
    assert (first == 1).all()
    assert not np.shares_memory(first, memory)
