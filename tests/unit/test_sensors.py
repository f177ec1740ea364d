"""What a node has, as its sensors read it: texts as the kernels and programs print them, and the real ones of this
machine. What cannot be read is unknown, never zero."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, UNIT
from homelab.worker.sensors import cgroups, cores, disks, memory, own, smoothing, telling
from homelab.worker.sensors.cgroups import Bound
from homelab.worker.sensors.cores import Idle
from homelab.worker.sensors.own import Job, Use
from homelab.worker.sensors.sensing import Sensors
from homelab.worker.sensors.shares import Share, share
from homelab.worker.sensors.watching import Watch, refresh

MIB, GIB = 1 << 20, 1 << 30

MEMINFO = """MemTotal:       16331752 kB
MemFree:          301244 kB
MemAvailable:    9124920 kB
Buffers:          511120 kB
Cached:          8012340 kB
SwapTotal:       2097148 kB
"""

SYSCTL = """hw.memsize: 68719476736
kern.memorystatus_level: 83
kern.memorystatus_vm_pressure_level: 1
"""

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               14672.
Pages active:                           1379416.
Pages inactive:                         1354621.
Pages speculative:                        24310.
Pages throttled:                              0.
Pages wired down:                        262144.
Pages purgeable:                          32768.
"Translation faults":                1894352011.
Pages copy-on-write:                   61239876.
Pages zero filled:                    931254321.
Pages reactivated:                     12345678.
Pages purged:                           2345678.
File-backed pages:                      1123000.
Anonymous pages:                        1081344.
Pages stored in compressor:              655360.
Pages occupied by compressor:            262144.
Decompressions:                         4123456.
Compressions:                           6123456.
Pageins:                               51234567.
Pageouts:                                 23456.
Swapins:                                      0.
Swapouts:                                     0.
"""


def test_linux_says_what_is_available_and_it_is_not_what_is_free() -> None:
    assert memory.linux(MEMINFO) == Share(total=16331752 * 1024, free=9124920 * 1024)


def test_a_control_group_may_allow_less_memory_than_the_machine_has() -> None:
    bound = Bound(limit=4 * GIB, current=3 * GIB, reclaimable=2 * GIB)
    assert memory.linux(MEMINFO, [bound]) == Share(total=4 * GIB, free=3 * GIB)
    full = Bound(limit=2 * GIB, current=2 * GIB, reclaimable=0)
    assert memory.linux(MEMINFO, [bound, full]) == Share(total=2 * GIB, free=0)


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "MemTotal: 5 kB\nMemAvailable:\n", "MemAvailable: x kB\n"])
def test_a_kernel_that_does_not_say_what_is_available_leaves_memory_unknown(text: str) -> None:
    assert memory.linux(text) is None


def test_on_a_mac_what_is_used_is_anonymous_wired_and_compressed() -> None:
    # 16 KiB pages: 16.5 GiB anonymous less 0.5 GiB purgeable, 4 GiB wired, 4 GiB of compressed pages. Free: 0.2 GiB.
    assert memory.macos(SYSCTL, VM_STAT) == Share(total=64 * GIB, free=40 * GIB)


def test_on_a_mac_the_kernels_own_level_has_the_last_word() -> None:
    tight = SYSCTL.replace("memorystatus_level: 83", "memorystatus_level: 25")
    assert memory.macos(tight, VM_STAT) == Share(total=64 * GIB, free=16 * GIB)
    critical = SYSCTL.replace("pressure_level: 1", "pressure_level: 4")
    assert memory.macos(critical, VM_STAT) == Share(total=64 * GIB, free=0)


@pytest.mark.parametrize("gone", ["Anonymous pages", "Pages wired down", "Pages occupied by compressor"])
def test_on_a_mac_a_part_that_is_not_told_leaves_memory_unknown(gone: str) -> None:
    assert memory.macos(SYSCTL, VM_STAT.replace(gone, "Pages otherwise")) is None
    assert memory.macos("", VM_STAT) is None
    assert memory.macos(SYSCTL, "vm_stat: bad\n") is None


V1 = "9:name=systemd:/\n4:memory:/box/7\n3:cpuset:/\n2:cpu,cpuacct:/box\n0::/\n"
V2 = "0::/user.slice/user-1000.slice/homelab.service\n"


def test_the_groups_of_a_process_are_found_up_to_the_root_in_both_versions() -> None:
    assert cgroups.folders(V1, "memory") == [
        "/sys/fs/cgroup/memory/box/7", "/sys/fs/cgroup/memory/box", "/sys/fs/cgroup/memory",
    ]  # fmt: skip
    assert cgroups.folders(V1, "cpu")[0] == "/sys/fs/cgroup/cpu/box"
    assert cgroups.folders(V2, "memory") == [
        "/sys/fs/cgroup/user.slice/user-1000.slice/homelab.service", "/sys/fs/cgroup/user.slice/user-1000.slice",
        "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup",
    ]  # fmt: skip
    assert cgroups.folders("0::/../outside\n", "memory") == ["/sys/fs/cgroup"]
    assert cgroups.folders("", "memory") == []


def test_limits_of_groups_are_read_in_both_versions(tmp_path: Path) -> None:
    inner, outer, old = tmp_path / "inner", tmp_path / "outer", tmp_path / "old"
    for folder in (inner, outer, old):
        folder.mkdir()
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    (outer / "cpu.max").write_text("150000 100000\n")
    (outer / "memory.max").write_text(f"{8 * GIB}\n")
    (outer / "memory.current").write_text(f"{5 * GIB}\n")
    (outer / "memory.stat").write_text(f"anon {3 * GIB}\ninactive_file {GIB}\n")
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    (old / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (old / "memory.usage_in_bytes").write_text("5\n")
    groups = [str(inner), str(outer), str(old), str(tmp_path / "absent")]
    assert cgroups.read_cores(groups) == 1.5
    assert cgroups.read_memory(groups) == [Bound(limit=8 * GIB, current=5 * GIB, reclaimable=GIB)]


def test_cores_are_the_fewest_that_machine_affinity_and_quota_allow() -> None:
    assert cores.limit(8, affinity=None, quota=None) == 8000
    assert cores.limit(8, affinity=4, quota=None) == 4000
    assert cores.limit(8, affinity=4, quota=1.5) == 1500


def test_idle_time_between_two_readings_is_what_was_free() -> None:
    assert cores.cores(8000, Idle(idle_s=100.0, at=0.0), Idle(idle_s=130.0, at=10.0)) == Share(total=8000, free=3000)
    assert cores.cores(2000, Idle(idle_s=100.0, at=0.0), Idle(idle_s=130.0, at=10.0)) == Share(total=2000, free=2000)


def test_how_busy_cores_are_is_unknown_when_readings_are_too_close_or_run_backwards() -> None:
    assert cores.cores(8000, Idle(idle_s=1.0, at=0.0), Idle(idle_s=1.1, at=0.1)) is None
    assert cores.cores(8000, Idle(idle_s=9.0, at=0.0), Idle(idle_s=1.0, at=10.0)) is None


def test_a_disk_that_is_not_there_has_no_room_and_one_that_cannot_be_looked_at_is_unknown(tmp_path: Path) -> None:
    assert disks.read(str(tmp_path / "nowhere")) == Share(total=0, free=0)
    assert disks.read("/data\0x") is None
    here = disks.read(str(tmp_path))
    assert here is not None and 0 < here.free < here.total


def test_this_machine_says_what_it_has() -> None:
    limit, there = cores.read_limit(), memory.read()
    assert limit is not None and 0 < limit <= UNIT * (os.cpu_count() or 0)
    assert there is not None and there.total > 64 * MIB and 0 < there.free <= there.total


SHARES = st.builds(share, total=st.integers(0, 1 << 45), free=st.integers(-(1 << 40), 1 << 46))


@given(cores_=st.none() | SHARES, memory_=st.none() | SHARES, disk=st.none() | SHARES, limit=st.none() | st.integers(1))
def test_unknown_is_never_zero(
    cores_: Share | None, memory_: Share | None, disk: Share | None, limit: int | None
) -> None:
    seen = telling.Seen(core_limit=limit, cores=cores_, memory=memory_, disks={"/data": disk})
    has, used = telling.measured(seen)["amounts"], telling.in_use(seen)
    assert (CPU in has) == (limit is not None or cores_ is not None)
    for name, one in ((MEMORY, memory_), ("disk:/data", disk)):
        assert (name in has) == (name in used) == (one is not None)
    assert (CPU in used) == (cores_ is not None)
    assert all(value >= 0 for value in used.values())


JOB = Job(session=7, promised={CPU: 2000, MEMORY: 4 * GIB, GPU_MEMORY: 8 * GIB})


def test_what_a_job_was_promised_is_taken_off_and_what_it_takes_beyond_is_not() -> None:
    before = {7: Use(cpu_s=10.0)}
    after = {7: Use(cpu_s=25.0, memory=GIB), 9: Use(cpu_s=50.0, memory=GIB)}
    assert own.own([JOB], before, after, took_s=10.0) == [(None, CPU, 1500), (None, MEMORY, GIB)]
    greedy = {7: Use(cpu_s=100.0, memory=9 * GIB)}
    assert own.own([JOB], before, greedy, took_s=10.0) == [(None, CPU, 2000), (None, MEMORY, 4 * GIB)]


def test_a_job_without_requirements_is_counted_as_other_programs_are() -> None:
    plain = Job(session=7, promised={"slots": UNIT})
    assert own.own([plain], {}, {7: Use(cpu_s=9.0, memory=GIB)}, took_s=10.0) == []


def test_gpu_memory_of_a_job_is_found_by_its_processes_on_each_device() -> None:
    use = {7: Use(pids=frozenset({70, 71}))}
    on_gpu = {0: {70: 3 * GIB, 99: GIB}, 1: {71: 6 * GIB}}
    found = own.own([JOB], {}, use, took_s=10.0, on_gpu=on_gpu)
    assert found == [(0, GPU_MEMORY, 3 * GIB), (1, GPU_MEMORY, 5 * GIB)], "eight are promised"


def test_the_use_of_a_session_is_that_of_all_its_processes() -> None:
    code = "import os,sys,time\nheld = bytearray(40 << 20)\nos.fork()\nprint('up', flush=True)\nsys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as job:
        assert job.stdout is not None and job.stdin is not None
        assert [job.stdout.readline(), job.stdout.readline()] == [b"up\n", b"up\n"]
        use = own.read({job.pid})[job.pid]
        assert len(use.pids) == 2 and job.pid in use.pids
        assert use.memory > 40 * MIB and use.cpu_s >= 0
        job.stdin.close()
        job.wait(10)
    assert own.read({(1 << 31) - 1}) == {}


USED = st.dictionaries(st.sampled_from([CPU, MEMORY, "gpu_memory"]), st.integers(0, 1 << 45))


@given(before=USED, seen=USED, took_s=st.floats(0, 1000))
def test_smoothed_use_lies_between_what_was_said_and_what_is_seen(
    before: dict[str, int], seen: dict[str, int], took_s: float
) -> None:
    found = smoothing.smooth({k: float(v) for k, v in before.items()}, seen, took_s=took_s)
    assert found.keys() == seen.keys(), "what is not seen now is not known now"
    for name, value in found.items():
        low, high = sorted((before.get(name, seen[name]), seen[name]))
        assert low - 1e-6 * (1 + high) <= value <= high + 1e-6 * (1 + high)
        if name != CPU and seen[name] >= before.get(name, 0):
            assert value == seen[name], "memory that is taken is gone at once"


@given(seen=st.integers(0, 1 << 45), start=st.integers(0, 1 << 45))
def test_smoothed_use_arrives_where_it_goes(seen: int, start: int) -> None:
    used = {MEMORY: float(start)}
    for _ in range(300):
        used = smoothing.smooth(used, {MEMORY: seen}, took_s=10.0)
    assert used[MEMORY] == pytest.approx(seen, abs=1.0)


@given(used=st.dictionaries(st.sampled_from([CPU, MEMORY]), st.floats(0, 1 << 45, allow_subnormal=False)))
def test_what_is_told_is_no_less_than_what_is_used(used: dict[str, float]) -> None:
    for name, value in smoothing.steps(used).items():
        assert value >= used[name] and value - used[name] <= (50 if name == CPU else 16 * MIB)


async def test_a_sensor_that_hangs_holds_up_nobody_and_grows_old() -> None:
    release, values = threading.Event(), iter([5, 6])

    def read() -> int:
        value = next(values)
        if value == 6:
            release.wait(10)
        return value

    watch = Watch("dead disk", read, every_s=0.1)
    await refresh([watch], within_s=5.0)
    assert watch.value == 5
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await refresh([watch], within_s=0.05)
    assert time.monotonic() - began < 1.0 and watch.is_reading
    await refresh([watch], within_s=5.0)
    assert time.monotonic() - began < 2.0, "what hangs already is not waited for"
    await asyncio.sleep(0.3)
    assert watch.value is None
    release.set()
    while watch.is_reading:
        await asyncio.sleep(0.01)
    assert watch.value == 6


async def test_a_sensor_with_a_fault_knows_nothing() -> None:
    def read() -> int:
        raise ZeroDivisionError

    watch = Watch("broken", read, every_s=1.0)
    await refresh([watch], within_s=5.0)
    assert watch.value is None and not watch.is_reading


async def test_a_heartbeat_tells_what_the_machine_has_and_costs_next_to_nothing(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path)
    sensors.heed({"sense": {"disks": ["/", "relative", "/nowhere/at/all"], "apps": []}})
    first = await sensors.told()
    amounts = first["measured"]["amounts"]
    assert {CPU, MEMORY, f"disk:{tmp_path}", "disk:/"} <= amounts.keys()
    assert "disk:relative" not in amounts and amounts["disk:/nowhere/at/all"] == 0
    assert CPU not in first["used"], "how busy the cores are is known from the second time on"
    await asyncio.sleep(cores.SHORTEST_S)
    began = time.process_time()
    second = await sensors.told([Job(session=os.getsid(0), promised={MEMORY: 1})])
    assert time.process_time() - began < 0.05
    assert 0 <= second["used"][CPU] <= amounts[CPU]
