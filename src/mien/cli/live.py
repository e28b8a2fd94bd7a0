"""``mien live``: a camera in the browser, recognised on this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def live(
    port: Annotated[int, typer.Option(help="0: any free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    model: Annotated[str, typer.Option(metavar="BUNDLE|NAME", help="Instead of the one in the package.")] = "",
    detector: Annotated[str, typer.Option(help="centerface, yunet, or yunet:PATH.")] = "centerface",
) -> None:
    """Open a page that shows the camera with expressions. Frames go to this machine only, and nothing is stored."""
    from mien.cli.common import stderr
    from mien.serving import ServiceConfig
    from mien.serving.run import serve

    config = ServiceConfig(port=port, model=model, detector=detector)
    serve(
        config,
        open_page="/live" if browser else "",
        called="mien live",
        say=lambda address: stderr.print(f"{address}/live  (Ctrl-C ends it)", highlight=False, soft_wrap=True),
    )
