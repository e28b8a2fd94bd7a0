"""Service and pages: requests per second and latency, overload, the camera's frames, the page without a service.

    python benchmarks/service.py                                    # load, live and web
    python benchmarks/service.py overload --seconds 600             # ten minutes of more than it can do
    python benchmarks/service.py load live web overload --record    # keep the figures and write the page of the docs
    python benchmarks/service.py load --photos FOLDER               # other photographs than the portrait

Clients and service share the machine, as do browser and service: on two cores each takes from the other. Linux only.

deepface's server, the obvious peer, is not in here: it fetches its weights from the network at the first request, and
where the recorded figures come from, those weights cannot be had, so it can be installed and started but answers
nothing. The same holds for deepface in one process, so no time of its stands among the recorded figures.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import functools
import http.client
import http.server
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lines import in_lines
from others import Load

import mien
from browser import PORTRAIT, chromium, film
from mien.bench import bench
from mien.results.provenance import source_state
from mien.store import write_text

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "service.json"
PARTS = ("load", "live", "web", "overload")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; by default the first three")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the overload")
    parser.add_argument("--photos", type=Path, help="a folder of photographs; the portrait of the examples otherwise")
    parser.add_argument("--record", action="store_true", help="keep these parts' figures and write the page")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS[:3])
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no part is called {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    files = sorted(arguments.photos.glob("*.jpg")) if arguments.photos else [PORTRAIT]
    photos = [path.read_bytes() for path in files]
    what = f"{len(photos)} photographs" if arguments.photos else "examples/astronaut.jpg"
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "load": lambda: load(photos, what),
        "live": live,
        "web": web,
        "overload": lambda: overload(photos, what, arguments.seconds),
    }
    for polite in (signal.SIGTERM, signal.SIGHUP):  # as after an error: what was started here ends with it
        signal.signal(polite, lambda number, _: sys.exit(128 + number))
    commit, dirty = source_state()
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "mien": mien.__version__,
        "commit": commit,
        "dirty": dirty,
        "machine": bench.machine(),
    }
    found = {}
    for part in parts:
        meanwhile = Load()
        measured = work[part]()
        found[part] = {**about, "others": meanwhile.others(), **measured}
        print(json.dumps({part: {"others": found[part]["others"], **measured}}, indent=1), flush=True)
    if arguments.record:
        kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        write_text(RECORD, in_lines(kept | found))
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "run.py"), "--docs"], check=True)


def load(photos: list[bytes], what: str, seconds: float = 12.0) -> dict[str, Any]:
    """Requests per second and latency for one client and for several that ask without a pause."""
    rows = []
    with service() as (port, _):
        for clients in (1, 4, 16):
            asked(port, photos, clients, 1.0)
            outcome = asked(port, photos, clients, seconds)
            ordered = sorted(outcome.milliseconds)
            rows.append(
                {
                    "clients": clients,
                    "requests_per_second": round(len(ordered) / outcome.seconds, 1),
                    "p50_ms": round(statistics.median(ordered), 1),
                    "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 1),
                    "statuses": dict(outcome.statuses),
                }
            )
    return {"photos": what, "rows": rows}


def overload(photos: list[bytes], what: str, seconds: float, clients: int = 120) -> dict[str, Any]:
    """More clients than the queue has room for: what is shed, whether all the rest is answered, and the memory."""
    memory: list[float] = []
    with service() as (port, process):
        asked(port, photos, 8, 3.0)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(1.0):
                memory.append(resident(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            outcome = asked(port, photos, clients, seconds)
        finally:
            ended.set()
            watcher.join()
        alive = process.poll() is None
        after = asked(port, photos, 1, 1.0)
    third = max(1, len(memory) // 3)
    return {
        "photos": what,
        "seconds": round(outcome.seconds),
        "clients": clients,
        "statuses": dict(outcome.statuses),
        "connections_broken": outcome.broken,
        "accepted_per_second": round(outcome.statuses["200"] / outcome.seconds, 1),
        "alive": alive,
        "answers_after": after.statuses["200"],
        "memory_mib": {
            "first_third_peak": round(max(memory[:third]), 1),
            "last_third_peak": round(max(memory[-third:]), 1),
            "peak": round(max(memory), 1),
        },
    }


def live(seconds: float = 10.0) -> dict[str, Any]:
    """Frames per second of ``/live`` in Chromium, whose camera shows the portrait at 1280 × 720."""
    with tempfile.TemporaryDirectory() as folder, service() as (port, _), contextlib.ExitStack() as held:
        browser = held.enter_context(chromium(camera=film(Path(folder) / "camera.mjpeg", 1280, 720)))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        answers: list[float] = []

        def heard(socket: Any) -> None:
            socket.on("framereceived", lambda text: answers.append(json.loads(text)["ms"]))

        page.on("websocket", heard)
        page.goto(f"http://127.0.0.1:{port}/live")
        page.click("#start")
        page.wait_for_selector(".face", timeout=60_000)
        page.wait_for_timeout(4000)
        before, start = len(answers), time.perf_counter()
        page.wait_for_timeout(1000 * seconds)
        spent, frames = time.perf_counter() - start, answers[before:]
    return {
        "camera": [1280, 720],
        "frames_per_second": round(len(frames) / spent, 1),
        "service_ms_per_frame": round(statistics.median(frames), 1),
    }


def web() -> dict[str, Any]:
    """Size of the page that needs no service, and how long it takes to be ready and to answer."""
    from mien.export import export_web
    from mien.recognition.bundles import default_bundle

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    ready, first, later = [], [], []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        written = export_web(default_bundle(), folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for _ in range(3):
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_port}/")
                page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
                ready.append(float(page.get_attribute("html", "data-ready") or 0))
                times = []
                for _ in range(6):
                    page.set_input_files("#file", str(PORTRAIT))
                    page.wait_for_selector(".face")
                    times.append(float(page.inner_text("#note").split()[-2]))
                first.append(times[0])
                later += times[1:]
                page.close()
            server.shutdown()
    return {
        "bytes": written.bytes,
        "parts": written.parts,
        "ready_ms": round(statistics.median(ready)),
        "first_answer_ms": round(statistics.median(first)),
        "later_answers_ms": round(statistics.median(later)),
    }


class Outcome:
    """What clients saw."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []  # of answers with status 200
        self.statuses: collections.Counter[str] = collections.Counter()
        self.broken = 0
        self.seconds = 0.0


def asked(port: int, photos: list[bytes], clients: int, seconds: float) -> Outcome:
    """Many clients, each of which asks again as soon as it is answered; after a 429 a moment later, as it is told."""
    outcome, lock = Outcome(), threading.Lock()
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection, turn = http.client.HTTPConnection("127.0.0.1", port, timeout=60), number
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                connection.request("POST", "/v1/predict", photos[turn % len(photos)], {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                status = str(response.status)
                body = response.read()
                if status == "200":
                    json.loads(body)
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                status = ""
            spent = time.perf_counter() - start
            turn += 1
            with lock:
                if status:
                    outcome.statuses[status] += 1
                else:
                    outcome.broken += 1
                if status == "200":
                    outcome.milliseconds.append(1000 * spent)
            if status != "200":
                time.sleep(0.2)
        connection.close()

    start = time.perf_counter()
    # Daemons: who is stopped in the middle waits for none of them.
    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - start
    return outcome


@contextlib.contextmanager
def service() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``mien serve`` as a process of its own, ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mien", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            with contextlib.suppress(OSError):
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            time.sleep(0.1)
        else:
            raise RuntimeError("the service did not get ready")
        yield port, process
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()  # that did not hear, or nobody waits any longer


def resident(process: int) -> float:
    """MiB that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
