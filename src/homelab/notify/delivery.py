"""Starts the sender for one target and waits for it, a bounded time. Called by `watcher` alone."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from homelab.notify.message import Message

TIMEOUT_S = 30.0


async def deliver(url: str, messages: Sequence[Message], *, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Deliver in order, stopping at the first failure. One entry for each message tried: empty when it was delivered,
    else the error (free of the URL's secrets). Never raises for a failed delivery; at least one entry."""
    order = json.dumps({"url": url, "messages": [asdict(message) for message in messages]}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "homelab.notify.send",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    answers = bytearray()
    problem = "the sender ended without an answer"
    try:
        async with asyncio.timeout(timeout_s):
            await _converse(process, order, answers)
    except TimeoutError:
        problem = f"no answer within {timeout_s:g} s"
    finally:
        await _end(process)
    results = [json.loads(line)["error"] for line in answers.splitlines(keepends=True) if line.endswith(b"\n")]
    if len(results) < len(messages) and not any(results):
        results.append(problem)
    return results


async def _converse(process: asyncio.subprocess.Process, order: bytes, answers: bytearray) -> None:
    stdin: Any = process.stdin
    stdout: Any = process.stdout
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(order)
        await stdin.drain()
    stdin.close()
    while chunk := await stdout.read(65536):
        answers += chunk
    await process.wait()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: what it started goes with it
        await process.wait()
