"""What a node has, as its sensors read it: texts as the kernels and programs print them, and the real ones of this
machine. What cannot be read is unknown, never zero."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.control import heartbeats
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, UNIT, Capacity
from homelab.core.placement import Node, Room
from homelab.worker.sensors import (
    apple,
    apps,
    cgroups,
    cores,
    disks,
    gpus,
    labels,
    memory,
    models,
    nvidia,
    own,
    power,
    sleep,
    smoothing,
    telling,
    thermal,
)
from homelab.worker.sensors.cgroups import Bound
from homelab.worker.sensors.cores import Idle
from homelab.worker.sensors.devices import Device, Gpus
from homelab.worker.sensors.models import Held, Models
from homelab.worker.sensors.own import Job, Use
from homelab.worker.sensors.sensing import Sensors
from homelab.worker.sensors.shares import Share, share
from homelab.worker.sensors.thermal import Zone
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
    assert disks.read("~/") is not None and disks.read("~/nowhere/at/all") == Share(total=0, free=0)
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


def test_where_the_gpu_has_its_memory_of_the_machines_both_were_promised_together() -> None:
    use = {7: Use(memory=10 * GIB)}
    assert own.own([JOB], {}, use, took_s=10.0, is_unified=True) == [(None, MEMORY, 10 * GIB)]
    assert own.own([JOB], {}, use, took_s=10.0) == [(None, MEMORY, 4 * GIB)]


def test_cores_of_jobs_that_ended_between_two_heartbeats_are_not_other_programs() -> None:
    short = Job(session=8, promised={CPU: 1000, MEMORY: GIB}, ended_cpu_s=4.0)
    seen_before = Job(session=7, promised={CPU: 1000}, ended_cpu_s=16.0)
    found = own.own([short, seen_before], {7: Use(cpu_s=10.0)}, {}, took_s=10.0)
    assert found == [(None, CPU, 400), (None, CPU, 600)], "memory they have no more"


def test_a_job_without_requirements_is_counted_as_other_programs_are() -> None:
    plain = Job(session=7, promised={"slots": UNIT})
    assert own.own([plain], {}, {7: Use(cpu_s=9.0, memory=GIB)}, took_s=10.0) == []


def test_gpu_memory_of_a_job_is_found_by_its_processes_on_each_device() -> None:
    use = {7: Use(pids=frozenset({70, 71}))}
    on_gpu = {0: {70: 3 * GIB, 99: GIB}, 1: {71: 6 * GIB}}
    found = own.own([JOB], {}, use, took_s=10.0, on_gpu=on_gpu)
    assert found == [(0, GPU_MEMORY, 3 * GIB), (1, GPU_MEMORY, 5 * GIB)], "eight are promised"


def test_the_use_of_a_session_is_that_of_all_its_processes() -> None:
    code = (
        "import os,sys,time\nheld = bytearray(40 << 20)\nos.fork()\nos.write(1, b'up' + bytes([10]))\nsys.stdin.read()"
    )
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
    release, values, now = threading.Event(), iter([5, 6]), 100.0

    def read() -> int:
        value = next(values)
        if value == 6:
            release.wait(30)
        return value

    watch = Watch("dead disk", read, every_s=10.0, clock=lambda: now)
    await refresh([watch], within_s=30.0)
    assert watch.value == 5
    now = 105.0
    assert watch.begin() is None, "it is not time yet"
    now = 110.0
    await refresh([watch], within_s=0.05)
    assert watch.is_reading and watch.value == 5
    began = time.monotonic()
    await refresh([watch], within_s=20.0)
    assert time.monotonic() - began < 10.0, "what hangs already is not waited for"
    now = 131.0
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
    amounts: dict[str, int] = {}
    while not {CPU, MEMORY, f"disk:{tmp_path}", "disk:/", "disk:/nowhere/at/all"} <= amounts.keys():
        amounts = (await sensors.told())["measured"]["amounts"]
        await asyncio.sleep(0.01)  # on a busy machine a disk may answer the next time
    assert "disk:relative" not in amounts and amounts["disk:/nowhere/at/all"] == 0
    await asyncio.sleep(cores.SHORTEST_S)
    began = time.process_time()
    second = await sensors.told([Job(session=os.getsid(0), promised={MEMORY: 1})])
    assert time.process_time() - began < 0.05
    assert 0 <= second["used"][CPU] <= amounts[CPU]


# -- GPUs: NVML is played by objects that answer as its Python binding does -------------------------------------------


class Nvml:
    """Cards as pynvml tells them: a list of (total, free) a card, of parts where it is split; None: it is lost."""

    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE
    NVMLError = pynvml.NVMLError
    NVMLError_LibraryNotFound = pynvml.NVMLError_LibraryNotFound
    NVMLError_NotFound = pynvml.NVMLError_NotFound
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_GpuIsLost = pynvml.NVMLError_GpuIsLost

    def __init__(self, *cards: list[tuple[int, int]] | None, split: bool = False) -> None:
        self.cards, self.split, self.fails = cards, split, 0
        self.begun = 0

    def nvmlInit(self) -> None:
        self._answer()
        self.begun += 1

    def nvmlShutdown(self) -> None:
        self._answer()

    def nvmlDeviceGetCount(self) -> int:
        self._answer()
        return len(self.cards)

    def _answer(self) -> None:
        if self.fails:
            raise pynvml.NVMLError(self.fails)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> tuple[int, int]:
        return number, 0

    def nvmlDeviceGetMigMode(self, handle: tuple[int, int]) -> list[int]:
        if self.cards[handle[0]] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if not self.split:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [self.NVML_DEVICE_MIG_ENABLE, 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: tuple[int, int]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: tuple[int, int], number: int) -> tuple[int, int]:
        if number >= len(self.cards[handle[0]] or ()):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle[0], number

    def nvmlDeviceGetMemoryInfo(self, handle: tuple[int, int]) -> SimpleNamespace:
        total, free = (self.cards[handle[0]] or [])[handle[1]]
        return SimpleNamespace(total=total, free=free, used=total - free)

    def nvmlDeviceGetName(self, handle: tuple[int, int]) -> str:
        return "NVIDIA H100"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: tuple[int, int]) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=70, usedGpuMemory=GIB), SimpleNamespace(pid=71, usedGpuMemory=None)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: tuple[int, int]) -> list[SimpleNamespace]:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_the_names_that_are_asked_of_nvml_are_its_own() -> None:
    asked = [name for name in dir(Nvml) if name.lower().startswith("nvml")]
    assert len(asked) > 12 and all(hasattr(pynvml, name) for name in asked)


def test_each_card_is_a_device_in_its_order() -> None:
    session = nvidia.Session(Nvml([(80 * GIB, 60 * GIB)], [(24 * GIB, 24 * GIB)]))
    devices = session.devices()
    assert devices is not None
    assert [d.share for d in devices] == [
        Share(total=80 * GIB, free=60 * GIB), Share(total=24 * GIB, free=24 * GIB),
    ]  # fmt: skip
    assert devices[0].name == "NVIDIA H100" and devices[0].by_pid == {70: GIB}


def test_a_card_that_is_split_is_as_many_devices_as_it_has_parts() -> None:
    session = nvidia.Session(Nvml([(40 * GIB, 30 * GIB), (20 * GIB, 20 * GIB)], split=True))
    assert [d.share.total for d in session.devices() or ()] == [40 * GIB, 20 * GIB]


def test_a_lost_card_keeps_its_number_and_has_nothing_to_give() -> None:
    session = nvidia.Session(Nvml(None, [(24 * GIB, 24 * GIB)]))
    assert [d.share.total for d in session.devices() or ()] == [0, 24 * GIB]


def test_a_driver_that_is_gone_is_unknown_and_is_asked_again() -> None:
    library = Nvml([(24 * GIB, 24 * GIB)])
    session = nvidia.Session(library)
    assert session.devices() is not None
    library.fails = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    assert session.devices() is None and session.is_there
    library.fails = 0
    assert session.devices() is not None and library.begun == 2


def test_without_a_driver_there_is_no_gpu_only_where_no_card_could_be_one() -> None:
    network, nvidia_card, server = ("0x8086", "0x020000"), ("0x10de", "0x030200"), ("0x1a03", "0x030000")
    assert gpus.without_driver([network, server]) == Gpus()
    assert gpus.without_driver([network, nvidia_card]) is None
    assert gpus.without_driver([("0x1002", "0x030000")]) is None
    assert gpus.without_driver(None) is None


def test_this_machine_says_whether_it_has_a_gpu() -> None:
    found = gpus.Reader().read()
    if Path("/dev/nvidiactl").exists():
        assert found is not None and all(d.share.total > 0 for d in found.devices)
    else:
        assert found is None or found.devices == () or found.unified


M2 = "hw.memsize: 68719476736\nhw.optional.arm64: 1\niogpu.wired_limit_mb: 0\n"


def test_apples_gpu_has_a_share_of_memory_the_usual_or_the_one_that_was_set() -> None:
    usual = apple.gpus(M2)
    assert usual is not None and usual.unified and [d.share.total for d in usual.devices] == [48 * GIB]
    small = apple.gpus(M2.replace("68719476736", str(18 * GIB)))
    assert small is not None and small.devices[0].share.total == 12 * GIB
    raised = apple.gpus(M2.replace("limit_mb: 0", "limit_mb: 57344"))
    assert raised is not None and raised.devices[0].share.total == 56 * GIB
    assert "iogpu.wired_limit_mb" in raised.devices[0].name and "usual" in usual.devices[0].name
    assert apple.gpus("hw.memsize: 17179869184\n") is None, "a Mac of Intel"


# -- models, applications, power, heat: texts as the programs print them ----------------------------------------------

PS = {
    "models": [
        {"name": "llama3:70b", "model": "llama3:70b", "size": 43 * GIB, "size_vram": 40 * GIB, "digest": "x"},
        {"name": "nomic-embed-text:latest", "size": GIB, "size_vram": 0},
        {"name": "broken", "size_vram": "much"},
    ]
}
TAGS = {"models": [{"name": "llama3:70b"}, {"name": "nomic-embed-text:latest"}, {"size": 1}]}


def test_what_ollama_says_of_its_models() -> None:
    assert models.loaded(PS) == (
        Held(name="llama3:70b", gpu_memory=40 * GIB), Held(name="nomic-embed-text", gpu_memory=0),
    )  # fmt: skip
    assert models.names(TAGS) == ("llama3:70b", "nomic-embed-text:latest", "nomic-embed-text")
    for nonsense in (None, [], {"models": 5}, {"models": ["x"]}, "text"):
        assert models.loaded(nonsense) == () and models.names(nonsense) == ()


def test_a_model_is_taken_to_be_where_the_most_memory_is_used() -> None:
    held = [Held(name="small", gpu_memory=4 * GIB), Held(name="large", gpu_memory=20 * GIB)]
    assert {m.name: m.device for m in models.on_devices(held, [5 * GIB, 21 * GIB])} == {"large": 1, "small": 0}
    assert {m.device for m in models.on_devices(held, [])} == {0}


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("", ("127.0.0.1", 11434)),
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("http://localhost:5000/", ("127.0.0.1", 5000)),
        ("0.0.0.0", ("127.0.0.1", 11434)),
        (":5000", ("127.0.0.1", 5000)),
        ("192.168.1.5:5000", ("127.0.0.1", 11434)),
        ("[::1]:5000", ("127.0.0.1", 11434)),
        ("127.0.0.1:x", ("127.0.0.1", 11434)),
    ],
)
def test_only_the_ollama_of_this_machine_is_asked(host: str, place: tuple[str, int]) -> None:
    assert models.address(host) == place


@contextlib.contextmanager
def answering(answers: dict[str, bytes]) -> Iterator[tuple[str, int]]:
    """An HTTP server on loopback; a path it does not know is 404."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield ("127.0.0.1", server.server_port)
        finally:
            server.shutdown()
            thread.join()


def test_an_ollama_that_listens_is_asked_and_what_is_none_is_unknown() -> None:
    with answering({"/api/ps": orjson.dumps(PS), "/api/tags": orjson.dumps(TAGS)}) as place:
        found = models.read(place)
        assert found is not None and len(found.loaded) == 2 and len(found.names) == 3
    with answering({"/": b"hello"}) as place:
        assert models.read(place) is None
    with answering({"/api/ps": b"<html>"}) as place:
        assert models.read(place) is None
    assert models.read(place) is None, "nobody listens there any more"


def test_a_loaded_model_is_in_no_other_programs_use() -> None:
    card = Gpus(devices=(Device(share=Share(total=80 * GIB, free=30 * GIB)),))
    held = Models(loaded=(Held(name="llama3:70b", gpu_memory=40 * GIB),))
    assert telling.in_use(telling.Seen(gpus=card, models=held)) == {GPU_MEMORY: 10 * GIB}
    mac = Gpus(devices=(Device(share=Share(total=48 * GIB, free=48 * GIB)),), unified=True)
    seen = telling.Seen(gpus=mac, models=held, memory=Share(total=64 * GIB, free=14 * GIB))
    assert telling.in_use(seen) == {MEMORY: 10 * GIB}
    node = Node(
        name="mac4",
        measured=Capacity(amounts={MEMORY: 64 * GIB}, gpus=(48 * GIB,), unified=True),
        models=telling.models(seen),
        foreign=telling.in_use(seen),
    )
    assert Room(node).free == {MEMORY: 14 * GIB, GPU_MEMORY: 8 * GIB}, "as the machine says itself"


def test_what_is_used_of_the_second_card_is_not_taken_off_the_first() -> None:
    cards = Gpus(
        devices=(Device(share=Share(total=GIB, free=GIB)), Device(share=Share(total=GIB, free=MIB))),
    )
    seen = telling.Seen(gpus=cards)
    node = Node(name="n", measured=Capacity(gpus=(GIB, GIB)), foreign=telling.in_use(seen))
    assert Room(node).devices == (GIB, MIB)


@pytest.mark.parametrize(
    ("name", "bundle", "is_it"),
    [
        ("photoshop", "Adobe Photoshop 2026", True),
        ("Photoshop", "Adobe Photoshop CC 2019", False),
        ("photoshop", "Photoshop Elements", False),
        ("blender", "Blender", True),
        ("blender", "blender4.2", True),
        ("davinci resolve", "DaVinci Resolve", True),
        ("word", "Microsoft Word", True),
        ("word", "WordPress", False),
        ("", "Blender", False),
    ],
)
def test_a_bundle_is_the_application_that_people_mean(name: str, bundle: str, is_it: bool) -> None:
    assert apps.is_of(name, bundle) is is_it


def test_bundles_are_found_in_folders_and_one_folder_deeper(tmp_path: Path) -> None:
    (tmp_path / "Blender.app").mkdir()
    (tmp_path / "Adobe Photoshop 2026" / "Adobe Photoshop 2026.app").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    assert apps.bundles([str(tmp_path), str(tmp_path / "absent")]) == ["Adobe Photoshop 2026", "Blender"]
    assert apps.bundles([str(tmp_path / "notes.txt")]) is None, "not to be listed is not to be without"


def test_programs_of_this_machine_are_found_and_one_that_is_not_there_is_told_so() -> None:
    assert apps.read(["sh", "no-such-program-anywhere"]) == {"sh": 1, "no-such-program-anywhere": 0}


AC = {"type": "Mains", "online": "1"}
BATTERY = {"type": "Battery", "capacity": "83", "status": "Discharging"}


@pytest.mark.parametrize(
    ("supplies", "found"),
    [
        ([], None),
        ([AC], {"source": "ac"}),
        ([{"type": "Mains", "online": "0"}, BATTERY], {"source": "battery", "level": 0.83}),
        ([AC, {**BATTERY, "status": "Charging"}], {"source": "ac", "level": 0.83}),
        ([BATTERY], {"source": "battery", "level": 0.83}),
        ([{**BATTERY, "scope": "Device"}], None),
        ([{"type": "Battery", "status": "Full"}], {"source": "ac"}),
        ([{"type": "Battery", "status": "Unknown", "capacity": "50"}], None),
    ],
)
def test_linux_says_where_power_comes_from(supplies: list[dict[str, str]], found: dict[str, Any] | None) -> None:
    assert power.linux(supplies) == found


def test_pmset_says_where_power_comes_from() -> None:
    text = (
        "Now drawing from 'Battery Power'\n"
        " -InternalBattery-0 (id=22872163)\t61%; discharging; 4:12 remaining present: true\n"
    )
    assert power.macos(text) == {"source": "battery", "level": 0.61}
    assert power.macos("Now drawing from 'AC Power'\n") == {"source": "ac"}, "a desktop"
    assert power.macos("") is None


def test_linux_says_how_warm_it_is() -> None:
    trips = {"passive": 95_000, "critical": 105_000}
    assert thermal.linux([Zone(temperature=52_300, trips=trips), Zone(temperature=20_000)]) == {
        "state": "nominal", "celsius": 52.3,
    }  # fmt: skip
    assert thermal.linux([Zone(temperature=96_000, trips=trips)]) == {"state": "hot", "celsius": 96.0}
    assert thermal.linux([Zone(temperature=101_000, trips=trips)]) == {"state": "critical", "celsius": 101.0}
    assert thermal.linux([Zone(temperature=-274_000)]) is None, "a sensor that is not there"
    assert thermal.linux([]) is None


def test_pmset_says_whether_a_mac_slows_itself_down() -> None:
    calm = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n"
    limits = "CPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= {}\n"
    assert thermal.macos(calm) == {"state": "nominal"}
    assert [thermal.macos(limits.format(n)) for n in (100, 71, 40)] == [
        {"state": "nominal"}, {"state": "hot"}, {"state": "critical"},
    ]  # fmt: skip
    assert thermal.macos("") is None


def test_machines_of_one_kind_have_the_same_labels_on_every_system() -> None:
    assert labels.labels("darwin", "arm64") == {"os": "macos", "arch": "arm64"}
    assert labels.labels("linux", "aarch64") == {"os": "linux", "arch": "arm64"}
    assert labels.labels("linux", "") == {"os": "linux"}


def test_a_machine_slept_when_one_of_two_clocks_stood_still() -> None:
    assert sleep.slept_s((100.0, 50.0), (4100.0, 60.0)) == 3990.0
    assert sleep.slept_s((100.0, 50.0), (110.0, 60.0)) is None
    before = sleep.read()
    assert sleep.slept_s(before, sleep.read()) is None


OPTIONAL = st.none() | st.dictionaries(st.sampled_from(["photoshop", "blender"]), st.integers(0, 1))


@given(
    cards=st.none() | st.lists(SHARES, max_size=3),
    unified=st.booleans(),
    apps_=OPTIONAL,
    held=st.none() | st.lists(st.integers(0, 1 << 40), max_size=3),
)
def test_a_field_that_no_sensor_filled_is_missing(
    cards: list[Share] | None, unified: bool, apps_: dict[str, int] | None, held: list[int] | None
) -> None:
    found = None if cards is None else Gpus(devices=tuple(Device(share=s) for s in cards), unified=unified)
    loaded = None if held is None else Models(loaded=tuple(Held(name=str(n), gpu_memory=s) for n, s in enumerate(held)))
    seen = telling.Seen(gpus=found, models=loaded, apps=apps_)
    told = telling.fields(seen)
    assert ("gpus" in told["measured"]) == ("devices" in told) == (cards is not None)
    assert ("models" in told) == ("models" in told["measured"]) == (held is not None)
    assert told.get("apps") == apps_
    assert "power" not in told and "thermal" not in told
    assert all(value >= 0 for value in telling.in_use(seen).values())
    heartbeats.read({**told, "node": "n", "slots": 1, "used": telling.in_use(seen)}, None)
