"""`sidecar completion`: what makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

from sidecar.cli.output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Into ~/.bashrc: eval "$(sidecar completion bash)". Into ~/.zshrc the same with zsh. For fish:
    sidecar completion fish > ~/.config/fish/completions/sidecar.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    script = found(ctx.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE")
    for line in script.source().splitlines():
        say(line)
