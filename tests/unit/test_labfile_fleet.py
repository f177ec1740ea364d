"""What a lab file says of its nodes and of what jobs require of them, and what no node can ever meet."""

import pytest

from homelab.core.capacity import GPU_MEMORY, MEMORY, SLOTS, UNIT
from homelab.core.jobs import Affinity, Job
from homelab.core.labfile import Problem, parse
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Placement, Snapshot, place, request_of

NODES = """
[nodes.mac1]
capacity = { cpu = 8, memory = "16GiB" }

[nodes.mac4]
labels = { zone = "attic" }
capacity = { cpu = 10, memory = "64GiB", gpu_memory = "48GiB", unified_memory = true, licences = 2 }
"""


def problems(job: str, nodes: str = NODES, before: str = "") -> list[Problem]:
    return parse({"lab.toml": f"{before}{nodes}\n[jobs.x]\nrun = 'true'\n{job}\n"}, main="lab.toml")[1]


def said(job: str, nodes: str = NODES) -> list[str]:
    return [f"{p.severity}: {p.message}" for p in problems(job, nodes)]


def test_what_no_node_has_is_refused_at_its_place() -> None:
    (found,) = problems('requires = { cpu = 1, memory = "200GiB" }')
    assert (found.severity, found.code, found.line, found.column) == ("error", "impossible", 11, 32)
    assert found.message == "no node has 200 GiB memory; the largest is mac4 with 64 GiB"
    assert found.hint == "Lower it, or add a node that has it."


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("requires = { cpu = 10.5 }", "no node has 10.5 cores; the largest is mac4 with 10"),
        ("requires = { licences = 3 }", "no node has 3 licences; the largest is mac4 with 2"),
        ("requires = { dongles = 1 }", "no node has dongles"),
        ("requires = { slots = 21 }", "no node has 21 slots; the largest is mac1 with 20"),
        ('requires = { labels = { zone = "cellar" } }', "no node has the label 'zone=cellar'"),
        (
            'requires = { memory = "40GiB", gpu_memory = "40GiB" }',
            "no node has 80 GiB memory; the largest is mac4 with 64 GiB",
        ),
        (
            'requires = { memory = "32GiB" }\naffinity = [{ node = "mac1", required = true }]',
            "no node has all that it needs: mac1: it has 16 GiB memory; 32 GiB is asked; mac4: it must be with mac1",
        ),
        ('affinity = "mac3"', "job 'x' names the node 'mac3', which the lab does not define"),
    ],
)
def test_other_impossible_requirements_are_refused(job: str, message: str) -> None:
    assert said(job) == [f"error: {message}"]


BESIDE = """
[jobs.y]
run = "true"
tags = ["heavy"]
exclusive = ["db"]
affinity = [{ node = "mac1", required = true }]
anti_affinity = [{ work = "shy", required = true }]
"""


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ("affinity = [{ work = 'x', required = true }]", "'x': that is itself, and none can be the first"),
        (
            "affinity = [{ work = 'heavy', required = true }]\nanti_affinity = [{ work = 'y', required = true }]",
            "'heavy': its anti_affinity says that it must not",
        ),
        (
            "tags = ['shy']\naffinity = [{ work = 'y', required = true }]",
            "'y': the anti_affinity of 'y' says that it must not",
        ),
        (
            "exclusive = ['db']\naffinity = [{ work = 'y', required = true }]",
            "'y': both are of the group 'db', of which one runs at a time",
        ),
        (
            "requires = { labels = { zone = 'attic' } }\naffinity = [{ work = 'y', required = true }]",
            "'y': no node suits both; it suits mac4, the other mac1",
        ),
    ],
)
def test_a_neighbour_that_can_never_be_there_is_refused(job: str, why: str) -> None:
    assert said(job, nodes=NODES + BESIDE) == [f"error: job 'x' must run beside {why}"]


def test_a_neighbour_that_the_lab_does_not_have_is_doubted_and_one_that_may_come_is_not() -> None:
    (found,) = problems("affinity = [{ work = 'ghost', required = true }]")
    assert (found.severity, found.code) == ("warning", "unknown-work")
    assert said("affinity = [{ work = 'heavy', required = true }]", nodes=NODES + BESIDE) == []


def test_a_requirement_of_the_defaults_is_refused_there() -> None:
    (found,) = problems("", before='[defaults]\nrequires = { memory = "1TiB" }\n')
    assert (found.line, found.column) == (2, 23)


@pytest.mark.parametrize(
    "job",
    [
        'requires = { gpu_memory = "24GiB", memory = "32GiB" }',
        "requires = { models = ['qwen3:14b'], apps = ['photoshop'], disk = { '/data' = '1TiB' } }",
        "affinity = ['mac1', { work = 'y' }]\nanti_affinity = [{ work = 'z' }]",
        "priority = 10\nrestartable = true\nexpect = { duration = '10m' }\nplace = 'pack'",
    ],
)
def test_what_a_node_has_or_may_have_is_accepted(job: str) -> None:
    assert said(job) == []


def test_without_nodes_nothing_is_known_and_nothing_refused() -> None:
    assert said('requires = { memory = "200GiB", labels = { zone = "x" } }\naffinity = "elsewhere"', nodes="") == []


def test_a_node_of_which_nothing_is_declared_may_have_it() -> None:
    assert said('requires = { memory = "200GiB" }', nodes=NODES + "\n[nodes.new]\n") == []


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("requires = { memroy = '1GiB' }", "'memroy' is not a number, as what a lab counts by itself must be"),
        ("requires = { memory = 'much' }", "'much': this is not a size"),
        ("requires = { cpu = -1 }", "-1 is not a number from 0 to 100000"),
        ("requires = { disk = '10GiB' }", "disk must be a table of sizes by path, not text"),
        ("requires = 3", "requires must be a table, not a number"),
        ("affinity = [{ required = true }]", "this says neither or both of node and work"),
        ("priority = 1000", "1000 is not a whole number from -100 to 100"),
    ],
)
def test_what_cannot_be_read_is_said(job: str, message: str) -> None:
    assert f"error: {message}" in said(job)


def test_a_name_near_a_known_one_is_counted_and_doubted() -> None:
    assert "warning: 'cpus' is counted by itself" in said("requires = { cpus = 2 }")


def test_the_file_becomes_requests_and_nodes() -> None:
    text = f"""{NODES}
[jobs.x]
run = "true"
requires = {{ memory = "1GiB", gpu_memory = "12GiB" }}
affinity = [{{ work = "y", required = true }}]
priority = 5
expect = {{ duration = "10m" }}
exclusive = ["db"]
"""
    lab, _ = parse({"lab.toml": text}, main="lab.toml")
    assert lab is not None
    job = lab.job("x")
    assert job.affinity == (Affinity(work="y", required=True),)
    assert (job.priority, job.expect.duration_s, job.place, job.restartable) == (5, 600.0, "auto", False)
    request = request_of(job, identity="1", submitted=0.0)
    assert request.amounts == {MEMORY: 1 << 30, GPU_MEMORY: 12 << 30, SLOTS: UNIT}
    mac1, mac4 = fleet_of(lab.nodes, concurrency=lab.worker.concurrency)
    assert mac1.declared.amounts[SLOTS] == 20 * UNIT and mac1.declared.gpus is None
    assert mac4.declared.gpus == (48 << 30,) and mac4.declared.unified
    found = place(
        request_of(Job(name="z", requires=job.requires), identity="2", submitted=0.0), Snapshot.of((mac1, mac4)), 0.0
    )
    assert isinstance(found, Placement) and found.node == "mac4"


def test_the_digest_of_a_job_that_says_nothing_about_placement_stays() -> None:
    lab, _ = parse({"lab.toml": "[jobs.x]\nrun = 'true'\n"}, main="lab.toml")
    assert lab is not None
    assert lab.flows[0].digest == "161726fd03ebc6bd329c510061bf329e88dca9963b4836db87e9fa77c42776db"
