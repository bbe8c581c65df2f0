"""Tables of an analysis: a type for every column, and sums that agree whatever the grouping."""

import pandas as pd
import pytest
from devices import DRAM, L2, device

import roofline
from roofline.cost import KINDS
from roofline.errors import RooflineError
from roofline.report.report import Report


@pytest.fixture(name="plain", scope="module")
def _plain() -> Report:
    return roofline.analyze("efficientnet_b0", device(memory=(DRAM, L2)), batch=16, calibrated=False)


GROUPINGS = ("kernel", "layer", "module", "kind")


@pytest.mark.parametrize("by", GROUPINGS)
def test_every_grouping_adds_up_to_the_same(plain: Report, by: str) -> None:
    table = plain.to_pandas(by)
    assert table["seconds"].sum() == pytest.approx(plain.latency)
    assert table["macs"].sum() == plain.macs
    assert table[["weight_bytes", "input_bytes", "output_bytes"]].to_numpy().sum() == pytest.approx(plain.bytes)
    if by != "kernel":
        parts = table[[f"split_{bound}_seconds" for bound in ("compute", "memory", "overhead", "occupancy")]]
        assert list(parts.sum(axis=1)) == pytest.approx(list(table["seconds"]))
        assert table["kernels"].sum() == len(plain.predictions)


@pytest.mark.parametrize("by", GROUPINGS)
def test_every_column_has_the_type_that_its_name_asks_for(plain: Report, by: str) -> None:
    table = plain.to_pandas(by)
    for name, kind in table.dtypes.items():
        if name in ("kind", "bound", "runner_up"):
            assert kind == "category", name
        elif name in ("kernel", "kernels", "params", "macs", "flops", "matrix_flops", "vector_flops"):
            assert kind == "int64", name
        elif name in ("layer", "module", "ops"):
            assert pd.api.types.is_string_dtype(kind), name
        else:
            assert kind == "float64", name
            assert str(name).endswith(("_bytes", "seconds", "_per_byte", "share", "fill", "margin")), name


def test_kinds_are_categories_in_the_order_of_reports(plain: Report) -> None:
    found = list(plain.to_pandas()["kind"].cat.categories)
    assert found == [kind for kind in KINDS if kind in {row["kind"] for row in plain.rows()}]


def test_rows_are_those_of_the_report(plain: Report) -> None:
    assert list(plain.to_pandas("layer")["layer"]) == [row.name for row in plain.by_layer()]
    assert list(plain.to_pandas("module", depth=2)["module"]) == [row.name for row in plain.by_module(2)]
    assert list(plain.to_pandas("kind")["kind"]) == [row.name for row in plain.by_op()]
    assert list(plain.to_pandas("layer")["params"]) == [row.params for row in plain.by_layer()]


def test_an_unknown_grouping_names_the_known_ones(plain: Report) -> None:
    with pytest.raises(RooflineError, match="unknown grouping 'block'; use one of kernel, layer, module, kind"):
        plain.to_pandas("block")
