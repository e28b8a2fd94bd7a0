"""One page per system, their list, and the badges."""

from __future__ import annotations

from mien.results import Result
from mien.results.tables import percent
from mien.site import charts
from mien.site.badge import badge, badge_text, badge_width
from mien.site.board import Row
from mien.site.frame import Frame
from mien.site.listing import recipe_command
from mien.site.mistakes import mistakes
from mien.site.rendering import large
from mien.systems.claims import claims
from mien.systems.described import Described, described


def system_pages(frame: Frame) -> dict[str, bytes]:
    """Path → content: a page per system, a badge per measured one, and the list of all."""
    made = {}
    for system in frame.systems:
        made[f"systems/{system}.html"] = _system(frame, system)
        if head := frame.head(system):
            made[f"badges/{system}.svg"] = badge(badge_text(head, len(frame.boards[0].measured))).encode()
    made["systems/index.html"] = _systems(frame)
    return made


def _system(frame: Frame, system: str) -> bytes:
    about = described().get(system)
    of_system = claims(system=system)
    on_board = [claim for claim in of_system if claim.dataset == "fer2013"]
    claim = on_board[0] if on_board else (of_system[0] if of_system else None)
    head = frame.head(system)
    rows = [row for row in frame.boards[0].of_system(system) if row.measured]
    any_row = next(iter(frame.by_system.get(system, ())), None)
    name = about.title if about else claim.model if claim else head.name if head else system
    result = head.measured.first if head and head.measured else None
    log = frame.source.logs.get((result.recipe_hash, result.seed or 0)) if result else None
    said = badge_text(head, len(frame.boards[0].measured)) if head else ""
    return frame.page(
        "system.html.j2",
        "../",
        "systems",
        name,
        f"{name}: what is claimed, what is measured, how it is built, predictions, recipe and BibTeX.",
        id=system,
        name=name,
        about=about,
        claim=claim if claim and claim.dataset == "fer2013" else None,
        claims=of_system,
        paper=(claim.further_papers[0] if claim.further_papers else claim.paper) if claim else None,
        code=claim.code if claim else (),
        head=head,
        rows=rows,
        ranked=len(frame.boards[0].measured),
        parameters=any_row.parameters if any_row else about.parameters if about else None,
        macs=any_row.macs if any_row else about.macs if about else None,
        takes=_takes(any_row, about),
        extra=any_row.extra_data if any_row else about.extra_data if about else (),
        reliability=charts.reliability(result) if result else "",
        training=charts.training(log[0], log[1]) if log else "",
        mistakes=mistakes(result, frame.source.faces) if result and frame.source.faces is not None else [],
        commands=_commands(system, about, result),
        badge=said,
        badge_width=badge_width(said) if said else 0,
        base=frame.source.url.rstrip("/") + "/" if frame.source.url else "",
    )


def _takes(row: Row | None, about: Described | None) -> list[int] | None:
    """Channels and side of the network whose multiply-accumulates stand beside: the measured one, if there is one."""
    measured = row.measured.cost.get("input") if row and row.measured and row.measured.cost.get("macs") else None
    if measured:
        return list(measured[:2])
    return [about.takes["channels"], about.takes["size"]] if about and about.takes else None


def _systems(frame: Frame) -> bytes:
    measured: list[dict[str, str]] = []
    built: list[dict[str, str]] = []
    claimed: list[dict[str, str]] = []
    for system in frame.systems:
        row = next(iter(frame.boards[0].of_system(system)), None)
        about = described().get(system)
        name = about.title if about else row.name if row else system
        it = row.measured if row else None
        value = row.claim.value if row and row.claim else None
        size = large(about.parameters) + " parameters" if about and about.parameters else ""
        item = {
            "href": f"{system}.html",
            "title": name,
            "text": size or (row.claim.paper.title if row and row.claim and row.claim.paper else ""),
            "claimed": f"{value:.2f} %" if value is not None else "–",
            "measured": percent(it.accuracy.value) if it else "–",
        }
        (measured if it else built if about else claimed).append(item)
    groups = [("Measured", measured), ("Built, not measured yet", built), ("Claimed, not built here", claimed)]
    about_all = "Everything the board ranks: architecture, input, recipe, and what its source leaves open."
    return frame.listing("systems", "Systems", about_all, groups)


def _commands(system: str, about: Described | None, result: Result | None) -> str:
    """What makes the headline result again, up to the test split; without one, what the source reports."""
    if about is None:
        return ""
    if about.kind == "ensemble":
        return f"mien ensemble {system}"
    network = bool(about.input)
    views = result.views if result else about.views[0] if about.views else "one"
    recipe = str(result.recipe.get("name", "mien")) if result and result.recipe else "mien"
    named = f" --recipe {recipe}" if recipe != "mien" else ""
    lines = []
    known = about.recipes.get(recipe, {}).get("hash")
    if result and result.recipe_hash != known:  # another one, or one that names what was given: the result holds it
        lines.append(recipe_command(system, result.id, recipe))
        named = f" --recipe {recipe}.toml"
    seed = result.seed if result and result.seed is not None else 0
    folder = f"runs/{system}-{recipe}-{(result.recipe_hash if result else str(known or '*'))[:8]}-s{seed}"
    taught = bool(result and (result.recipe.get("distill") or {}).get("weight"))
    verb = f"mien distill --teacher BUNDLE --student {system}" if taught else f"mien train {system}"
    given = " --init RUN" if result and result.recipe.get("start", {}).get("kind") == "run" else ""
    given += " --extra-images MANIFEST" if result and result.recipe.get("extra_images") else ""
    lines.append(f"{verb}{named}{given} --seed {seed}")
    if result and result.kind == "bundle" and network:
        precision = str(result.environment.get("precision", "fp32"))
        flag = f" --{precision}" if precision != "fp32" else ""
        lines.append(f"mien export {folder} --onnx {system}.onnx{flag}")
        folder = f"{system}.onnx"
    return "\n".join([*lines, f"mien evaluate {folder} --views {views}"])
