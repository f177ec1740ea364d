"""What a person expects of a job, in place of what was learned: the table `expect` of a job. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`duration_s`: longer is slow, and three times as long stuck. `output_bytes`: less is shrunken (0 bytes: silent;
    expecting 0 says that silence is fine). `late_s`: so long after its instant a run that has not started is late.
    None: as learned."""

    duration_s: float | None = None
    output_bytes: int | None = None
    late_s: float | None = None


NOTHING_EXPECTED = Expected()
