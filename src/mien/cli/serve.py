"""``mien serve``: the recogniser as an HTTP service with a page to try it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str, typer.Option(help="Beyond this machine only with a token, or with --anonymous.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests have to send; or MIEN_TOKEN.")
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Everybody who reaches it may ask.")] = False,
    cors_origin: Annotated[list[str] | None, typer.Option(help="A web origin whose pages may ask; repeat it.")] = None,
    allowed_host: Annotated[list[str] | None, typer.Option(help="A name of this service; repeat it.")] = None,
    model: Annotated[str, typer.Option(metavar="BUNDLE|NAME", help="Instead of the one in the package.")] = "",
    detector: Annotated[str, typer.Option(help="centerface, yunet, or yunet:PATH.")] = "centerface",
    max_mib: Annotated[float, typer.Option(min=0.01, help="Of one request.")] = 20.0,
    max_images: Annotated[int, typer.Option(min=1, help="In one request.")] = 16,
    max_faces: Annotated[int, typer.Option(min=1, help="In one image.")] = 500,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of one image.")] = 50_000_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="A request may take.")] = 15.0,
    queue: Annotated[int, typer.Option(min=1, help="Images waiting or in work; more are answered with 429.")] = 64,
) -> None:
    """Serve POST /v1/predict and /v1/classify, /v1/models, /metrics, and a page to try an image. No image is stored."""
    import os

    from mien.cli.common import stderr
    from mien.errors import InputError
    from mien.serving import ServiceConfig
    from mien.serving.run import serve as run

    token = os.environ.get("MIEN_TOKEN", "")
    if token_file is not None:
        token = token_file.read_text(encoding="utf-8").strip()
        if not token:
            raise InputError(f"{token_file} is empty; put the token into it")
    config = ServiceConfig(
        host=host,
        port=port,
        workers=workers,
        token=token,
        anonymous=anonymous,
        origins=tuple(cors_origin or ()),
        hosts=tuple(allowed_host or ()),
        model=model,
        detector=detector,
        max_bytes=int(max_mib * 2**20),
        max_images=max_images,
        max_faces=max_faces,
        max_pixels=max_pixels,
        seconds=seconds,
        queue=queue,
    )
    run(config, say=lambda address: stderr.print(f"{address}  (Ctrl-C ends it)", highlight=False, soft_wrap=True))
