"""`homelab completion`: the script that teaches a shell the commands, options, jobs and runs."""

import click

from homelab.cli import output


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print shell completion: `eval "$(homelab completion bash)"`, or for fish `homelab completion fish | source`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    # The template alone: `source()` would first run the shell to ask for its version.
    made = kind(root, {}, "homelab", "_HOMELAB_COMPLETE")
    output.line(made.source_template % made.source_vars())
