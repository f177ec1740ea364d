"""The name of an attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.errors import InputError
from homelab.core.work import Work


@given(
    st.text(alphabet=st.characters(exclude_characters="/"), min_size=1, max_size=40),
    st.text(min_size=1, max_size=40),
    st.integers(0, 10**9 - 1),
)
def test_a_name_is_read_as_it_was_written_even_of_a_job_with_a_slash(run: str, job: str, attempt: int) -> None:
    assert Work.of(str(Work(run, job, attempt))) == (run, job, attempt)


BAD = ["", "run", "run/job", "run/job/", "/job/1", "run//1", "run/job/x", "run/job/-1", "a/b/١", "r/j/1234567890", "\0"]


@pytest.mark.parametrize("text", [*BAD, "r" * 400 + "/job/1"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="RUN/JOB/ATTEMPT"):
        Work.of(text)
