"""`lthpaper results pull` and `push`: published results from and to the Hugging Face hub."""

from typing import Annotated

import typer

from lthpaper.cli import terminal

console = terminal.console()
Repository = Annotated[str, typer.Argument(help="A dataset repository on the hub: owner/name.")]
Folder = Annotated[str, typer.Option("--results", help="Folder of published results. Default: results.")]
Endpoint = Annotated[
    str, typer.Option("--endpoint", help="Another hub's address. Default: HF_ENDPOINT or huggingface.co.")
]


def pull(
    repository: Repository,
    results: Folder = "",
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit.")] = "main",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a scale that differs.")] = False,
    endpoint: Endpoint = "",
) -> None:
    """Download published results from the hub; checksums are verified, and no code is run."""
    from lthpaper import locations
    from lthpaper.store import hub

    folder = locations.home() / (results or "results")
    moved = hub.pull(repository, folder, revision, endpoint or None, replace)
    for scale, files in moved.scales.items():
        console.print(f"{scale}: {files} files, checked against their manifest")
    console.print(f"Downloaded to {folder} from {repository} at {moved.revision}")


def push(
    repository: Repository,
    results: Folder = "",
    message: Annotated[str, typer.Option("--message", "-m", help="Message of the commit.")] = "",
    endpoint: Endpoint = "",
) -> None:
    """Upload published results to the hub, in one commit, after checking them against their manifests."""
    from lthpaper import locations
    from lthpaper.store import hub

    moved = hub.push(repository, locations.home() / (results or "results"), message, endpoint or None)
    for scale, files in moved.scales.items():
        console.print(f"{scale}: {files} files")
    console.print(f"Uploaded to {repository} as {moved.revision}")
