"""Loads the webhook as a busy cluster would, with hostile clients beside it, and prints what it held.

200 clients keep their connections and ask at a steady rate in all (`--rate`), with real reviews: Workspaces of several
models, GPUs and lengths whose ConfigMaps are partners on disk. Meanwhile the certificate is renewed, bodies that are
too large, compressed or slow are sent, and at the end SIGTERM arrives under load. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "admission"))
from reviews import TRAINING_CONFIG, config_map, review, workspace
from serving import HOST, Server, serving, write_certificate

MODELS = ("phi-3-mini-128k-instruct", "phi-4", "mistral-7b-instruct", "llama-3.1-8b-instruct", "falcon-7b-instruct")
INSTANCES = (
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC40ads_H100_v5",
    "Standard_NV36ads_A10_v5",
)
NOTE = {"note": "x" * 1000}
"""Real objects carry annotations; with these a review has about 2 KB."""


@dataclass
class Tally:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refused_connections: int = 0
    handshakes: int = 0


def training_config(number: int) -> str:
    length = 256 * (1 + number % 12)
    return TRAINING_CONFIG.replace("r: 8", f"r: {4 << (number % 4)}").replace("1024", str(length))


def reviews_for(count: int, folder: Path) -> list[bytes]:
    """Write ConfigMaps as partners and return reviews of the Workspaces that use them, and of ConfigMaps."""
    bodies = []
    for number in range(count):
        name = f"config-{number}"
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config_map(training_config(number), name)))
        content = workspace(preset={"name": MODELS[number % len(MODELS)]}, config=name)
        instance = INSTANCES[number % len(INSTANCES)]
        content["resource"] = {**content["resource"], "instanceType": instance}
        content["metadata"] = {"name": f"tuning-{number}", "namespace": "ml", "annotations": NOTE}
        changed = config_map(training_config(number + 1), name)
        changed["metadata"]["annotations"] = NOTE
        bodies += [review(content), review(changed)]
    return bodies


async def client(server: Server, context: ssl.SSLContext, bodies: list[bytes], tally: Tally, pause: float, end: float,
                 seed: int) -> None:  # fmt: skip
    """Ask one review after the other over a kept connection until `end`."""
    choices = random.Random(seed)
    await asyncio.sleep(choices.random() * pause)
    streams = None
    while time.monotonic() < end:
        started = time.monotonic()
        try:
            if streams is None:
                streams = await asyncio.open_connection(HOST, server.port, ssl=context)
                tally.handshakes += 1
        except ssl.SSLError as error:
            tally.errors.append(f"handshake: {error}")
            continue
        except OSError:
            tally.refused_connections += 1  # after SIGTERM nobody listens: the request was never accepted
            return
        try:
            status, closes = await ask(*streams, choices.choice(bodies))
            tally.seconds.append(time.monotonic() - started)
            if status != 200:
                tally.errors.append(f"status {status}")
            if closes:
                streams[1].close()
                streams = None
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.errors.append(f"{type(error).__name__}: {error}")
            streams = None
        await asyncio.sleep(max(0.0, started + pause * (0.5 + choices.random()) - time.monotonic()))


def request_of(body: bytes) -> bytes:
    """Return the HTTP request with a review."""
    head = b"POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bool]:
    """Return the status of one review, and whether the server closes the connection."""
    writer.write(request_of(body))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    answer = await reader.readexactly(length)
    status = int(head.split(b" ", 2)[1])
    if status == 200:
        json.loads(answer)["response"]["allowed"]
    return status, b"connection: close" in head


def crowded_request(number: int) -> bytes:
    """Return a request with a review that says as much as it may; no two are alike."""
    if number % 2:
        keys = "".join(f"    key{number}_{index}: 1\n" for index in range(50_000))
        body = review(config_map(f"training_config:\n  TrainingArguments:\n{keys}", f"crowded-{number}"))
    else:
        body = review(workspace(input={"urls": [f"https://example.com/{number}"] * 50_000}))
    return request_of(body)


async def hostile(server: Server, context: ssl.SSLContext, end: float) -> int:
    """Send what a hostile client would, over and over; return how often."""
    heads = (
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20971520\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 2\r\n\r\n\x1f\x8b",
        b"POST /validate HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        None,
    )
    count = 0
    while time.monotonic() < end:
        for use_tls in (context, None):
            try:
                reader, writer = await asyncio.open_connection(HOST, server.port, ssl=use_tls)
                writer.write(heads[count % len(heads)] or crowded_request(count))
                await asyncio.wait_for(reader.read(1000), 3)
                writer.close()
            except (OSError, asyncio.TimeoutError):
                pass
            count += 1
        await asyncio.sleep(0.2)
    return count


def resident_bytes(server: Server) -> int:
    root = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (root, *root.children(recursive=True)))


async def load(server: Server, bodies: list[bytes], arguments: argparse.Namespace) -> tuple[Tally, list[int], int]:
    tally, marks = Tally(), []
    context = server.context
    end = time.monotonic() + arguments.seconds
    pause = arguments.clients / arguments.rate
    clients = [asyncio.create_task(client(server, context, bodies, tally, pause, end, seed))
               for seed in range(arguments.clients)]  # fmt: skip
    attacks = asyncio.create_task(hostile(server, context, end))
    for number in range(1, 4):
        await asyncio.sleep(arguments.seconds / 3 - (1 if number == 3 else 0))
        marks.append(resident_bytes(server))
        if number == 1:
            write_certificate(server.authority, server.folder)
    await asyncio.gather(*clients)
    return tally, marks, await attacks


async def signal_under_load(server: Server, bodies: list[bytes], arguments: argparse.Namespace) -> Tally:
    tally = Tally()
    end = time.monotonic() + 12
    pause = arguments.clients / arguments.rate
    clients = [asyncio.create_task(client(server, server.context, bodies, tally, pause, end, seed))
               for seed in range(arguments.clients)]  # fmt: skip
    await asyncio.sleep(4)
    server.process.terminate()
    await asyncio.gather(*clients)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=180, help="reviews a second, over all clients")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        bodies = reviews_for(60, folder / "objects")
        options = ("--partners", str(folder / "objects"), "--processes", "2", "--drain-seconds", "3")
        with serving(folder, *options) as server:
            asyncio.run(load(server, bodies, argparse.Namespace(seconds=9, clients=20, rate=arguments.rate)))
            tally, marks, num_attacks = asyncio.run(load(server, bodies, arguments))
            ending = asyncio.run(signal_under_load(server, bodies, arguments))
            code = server.process.wait(timeout=60)
    millis = sorted(value * 1e3 for value in tally.seconds)
    p99 = millis[int(len(millis) * 0.99)]
    growth = marks[2] / marks[1] - 1
    rate = len(millis) / arguments.seconds
    size = statistics.mean(map(len, bodies))
    print(f"bodies of {size:,.0f} bytes, {arguments.clients} clients, {arguments.seconds:g} s")
    print(f"reviews {len(millis):,} ({rate:.0f}/s), errors {len(tally.errors)}, hostile requests {num_attacks}")
    print(f"latency p50 {statistics.median(millis):.1f} ms, p99 {p99:.1f} ms, most {millis[-1]:.1f} ms")
    print(f"resident {', '.join(f'{mark >> 20} MiB' for mark in marks)}; growth in the last third {growth:+.1%}")
    print(f"SIGTERM under load: {len(ending.seconds)} answered, {len(ending.errors)} lost, "
          f"{ending.refused_connections} not accepted, exit {code}")  # fmt: skip
    for error in (tally.errors + ending.errors)[:5]:
        print("  ", error)
    is_held = not tally.errors and not ending.errors and p99 < 250 and rate >= 150 and growth < 0.05 and code == 0
    print("held" if is_held else "MISSED")
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
