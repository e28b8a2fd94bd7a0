"""``mien fetch``: named bundles and detectors into the cache folder, checked against their pinned hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMES…]", help="What to fetch; none: list it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch everything in the manifest.")] = False,
    manifest: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Another manifest than the one in the package.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another cache folder, to carry to an offline machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch bundles and detectors beforehand, so that nothing is downloaded later.

    Every file is pinned by its SHA-256 and size; an interrupted download goes on where it stopped. The cache folder
    (MIEN_CACHE) can be copied to a machine without a network.
    """
    from mien.cli.common import print_json, print_table, progress, stderr
    from mien.store.fetching import fetch as bring
    from mien.store.fetching import list_fetched
    from mien.store.manifest import packaged_manifest, read_manifest

    known = packaged_manifest() if manifest is None else read_manifest(manifest)
    if not names and not everything:
        here = {item["sha256"]: item for item in list_fetched(to) if item["intact"]}
        rows = [{**entry.to_json(), "fetched": here.pop(entry.sha256, None) is not None} for entry in known]
        rows += [{**item, "about": item["path"], "fetched": True} for item in here.values()]
        if as_json:
            print_json(rows)
        else:
            cells = [
                (r["name"], r["kind"], f"{r['bytes'] / 1e6:.1f} MB", "yes" if r["fetched"] else "no", r["about"])
                for r in rows
            ]
            print_table(("name", "kind", "size", "fetched", "about"), cells)
        return
    done = []
    for entry in list(known) if everything else [known[name] for name in names or []]:
        with progress() as bar:
            task = bar.add_task(entry.name, total=entry.bytes)
            path, new = bring(entry, cache=to, progress=lambda had, _, task=task: bar.update(task, completed=had))  # type: ignore[misc]
        done.append({"name": entry.name, "kind": entry.kind, "path": str(path), "new": new})
        if not as_json:
            said = "fetched" if new else "was there already"
            stderr.print(f"{entry.name}: {said}, {path}", soft_wrap=True, highlight=False, markup=False)
    if as_json:
        print_json(done)
