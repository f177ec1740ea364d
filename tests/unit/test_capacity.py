"""Amounts: how they are read, summed and put into words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.placing import patient

from homelab.core import capacity
from homelab.core.capacity import AmountError, Capacity, amount, capacity_of, requirements_of, smallest, text


@pytest.mark.parametrize(
    ("resource", "written", "read"),
    [
        ("cpu", 2, 2000),
        ("cpu", "0.5", 500),
        ("cpu", 0.1, 100),
        ("memory", "64GiB", 64 << 30),
        ("memory", 1024, 1024),
        ("disk:/data", "10GB", 10**10),
        ("slots", 3, 3000),
        ("licences", 1, 1000),
    ],
)
def test_an_amount_is_read_in_the_smallest_unit(resource: str, written: object, read: int) -> None:
    assert amount(resource, written) == read


@pytest.mark.parametrize(
    ("resource", "written"),
    [("cpu", "many"), ("cpu", -1), ("cpu", True), ("cpu", "nan"), ("memory", "64 cows"), ("slots", None), ("cpu", 1e9)],
)
def test_what_is_no_amount_is_refused(resource: str, written: object) -> None:
    with pytest.raises(AmountError):
        amount(resource, written)


def test_a_value_that_is_no_amount_is_named() -> None:
    with pytest.raises(AmountError, match=r"^cpu = lots: this is not a number"):
        capacity_of({"cpu": "lots"})
    with pytest.raises(AmountError, match=r"^disk:/data = much: this is not a size"):
        requirements_of({"disk": {"/data": "much"}})


@patient
@given(st.sampled_from(("cpu", "memory", "slots")), st.integers(0, 1 << 45), st.integers(0, 1 << 45))
def test_the_words_never_show_as_much_free_as_asked_when_it_is_less(resource: str, free: int, asked: int) -> None:
    if free < asked:
        assert text(resource, free) != text(resource, asked, up=True)


def test_amounts_have_at_most_one_decimal() -> None:
    assert [text("memory", n) for n in (0, 1023, 1024, 10_000_000_000)] == ["0 B", "1023 B", "1 KiB", "9.3 GiB"]
    assert [text("cpu", n) for n in (0, 500, 2000, 2550)] == ["0", "0.5", "2", "2.5"]


def test_a_capacity_table_is_read() -> None:
    has = capacity_of(
        {"cpu": 10, "memory": "64GiB", "gpu_memory": ["24GiB", "8GiB"], "disk": {"/data/": "1TiB"},
         "apps": ["photoshop"], "models": ["qwen3:14b"], "licences": 2}
    )  # fmt: skip
    assert has.amounts == {
        "cpu": 10_000, "memory": 64 << 30, "disk:/data": 1 << 40, "app:photoshop": 1000, "licences": 2000
    }  # fmt: skip
    assert has.gpus == (24 << 30, 8 << 30) and not has.unified and has.models == ("qwen3:14b",)
    assert capacity_of({"gpu_memory": "48GiB", "unified_memory": True}).unified
    assert capacity_of({}).gpus is None


def test_a_requires_table_is_read() -> None:
    needs = requirements_of({"gpu_memory": "12GiB", "apps": {"photoshop": 2}, "labels": {"zone": "x"}, "models": ["m"]})
    assert needs.amounts == {"gpu_memory": 12 << 30, "app:photoshop": 2000}
    assert needs.labels == {"zone": "x"} and needs.models == ("m",)


def test_of_two_capacities_the_smaller_amounts_count_and_what_one_does_not_know_is_not_nothing() -> None:
    declared = Capacity(amounts={"cpu": 8000, "memory": 64}, gpus=None)
    measured = Capacity(amounts={"cpu": 10_000, "slots": 3000}, gpus=(5, 7))
    both = smallest(declared, measured)
    assert both.amounts == {"cpu": 8000, "memory": 64, "slots": 3000} and both.gpus == (5, 7)


def test_json_has_units_in_its_names() -> None:
    assert capacity.to_json({"memory": 5, "cpu": 1500, "disk:/data": 7}) == {
        "cpu": 1.5, "disk:/data_bytes": 7, "memory_bytes": 5
    }  # fmt: skip


def test_the_short_form_of_a_command_line_is_the_table_of_a_lab_file() -> None:
    table = capacity.table_of(
        "cpu=2, memory=1GiB,app=photoshop,app:maya=2,model=q,model=r,disk:/data=1GiB,gpu_memory=1,gpu_memory=2"
    )
    assert table == {
        "cpu": "2", "memory": "1GiB", "apps": {"photoshop": 1, "maya": "2"}, "models": ["q", "r"],
        "disk": {"/data": "1GiB"}, "gpu_memory": ["1", "2"],
    }  # fmt: skip
    assert requirements_of({"cpu": "2"}).amounts == {"cpu": 2000}
    for wrong in ("cpu", "=2", "cpu="):
        with pytest.raises(AmountError):
            capacity.table_of(wrong)
    with pytest.raises(AmountError, match="disk must be a table"):
        requirements_of(capacity.table_of("disk=10GiB"))
