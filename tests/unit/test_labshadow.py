"""Who runs an imported job, in the text of the lab file."""

import tomllib

from homelab.core import labfile
from homelab.home import labedit, labshadow

SOURCE = "crontab of ada"
LAB = '[lab]\nname = "x"\n'
JOBS = [
    labedit.NewJob(name=name, line=line, settings={"schedule": "@daily", "run": name})
    for name, line in (("one", 1), ("two", 2))
]
AT = "2026-11-25T00:01:20Z"


def imported() -> dict[str, str]:
    return labedit.merge({"lab.toml": LAB}, "lab.toml", JOBS, source=SOURCE).texts


def jobs(texts: dict[str, str]) -> dict[str, dict[str, object]]:
    return tomllib.loads(texts["lab.toml"])["jobs"]


def test_a_job_goes_into_shadow_to_the_lab_and_back_and_other_text_stays() -> None:
    first = {"lab.toml": "# mine\n" + imported()["lab.toml"]}
    shadowed = labshadow.shadowed(first, ["one"])
    assert (jobs(shadowed)["one"]["shadow"], "shadow" in jobs(shadowed)["two"]) == (True, False)
    adopted = labshadow.adopted(shadowed, ["one"], at=AT)
    assert "shadow" not in jobs(adopted)["one"]
    assert labshadow.taken_over(adopted) == {"one": AT}
    again = labshadow.shadowed(adopted, ["one"])
    assert (jobs(again), labshadow.taken_over(again)) == (jobs(shadowed), {})
    assert again["lab.toml"].startswith("# mine\n")


def test_where_shadow_is_the_default_an_adopted_job_says_that_it_is_not() -> None:
    texts = {"lab.toml": imported()["lab.toml"] + "\n[defaults]\nshadow = true\n"}
    adopted = labshadow.adopted(texts, ["one"], at=AT)
    lab, problems = labfile.parse(adopted, main="lab.toml")
    assert lab is not None, problems
    assert [(job.name, job.shadow) for job in lab.jobs] == [("one", False), ("two", True)]


def test_an_import_does_not_remove_what_was_adopted_for_its_line_is_a_comment() -> None:
    texts = labshadow.adopted(imported(), ["one"], at=AT)
    merged = labedit.merge(texts, "lab.toml", JOBS[1:], source=SOURCE)
    assert (merged.removed, merged.kept, list(jobs(merged.texts))) == ([], [], ["one", "two"])
    both = labshadow.adopted(imported(), ["one", "two"], at=AT)
    assert labedit.merge(both, "lab.toml", [], source=SOURCE).texts == both


def test_a_job_in_shadow_that_leaves_the_crontab_leaves_the_lab_file() -> None:
    texts = labshadow.shadowed(imported(), ["one", "two"])
    merged = labedit.merge(texts, "lab.toml", JOBS[1:], source=SOURCE)
    assert merged.removed == ["one"]


def test_an_adopted_job_that_changes_in_its_crontab_is_still_adopted() -> None:
    texts = labshadow.adopted(imported(), ["one"], at=AT)
    changed = labedit.NewJob(name="one", line=1, settings={"schedule": "@hourly", "run": "one"})
    merged = labedit.merge(texts, "lab.toml", [changed, JOBS[1]], source=SOURCE)
    assert (merged.updated, labshadow.taken_over(merged.texts)) == (["one"], {"one": AT})
