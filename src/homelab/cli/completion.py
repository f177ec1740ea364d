"""`homelab completion`: the script that teaches a shell the commands, options, jobs, runs and files.

The scripts ask `homelab` itself what may come next, by click's protocol; what it says on stderr they throw away, so
that a lab that is down leaves the line of the person as it is.
"""

import click

from homelab.cli import output

SCRIPTS = {
    "bash": """\
_homelab_completion() {
    local kind value IFS=$'\\n'
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _HOMELAB_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _homelab_completion homelab 2>/dev/null || complete -F _homelab_completion homelab
""",
    "zsh": """\
#compdef homelab
_homelab() {
    local kind value about
    local -a bare described
    (( $+commands[homelab] )) || return 1
    while IFS= read -r kind && IFS= read -r value && IFS= read -r about; do
        case $kind in
            plain) if [[ $about == _ ]]; then bare+=("$value"); else described+=("$value:$about"); fi ;;
            dir) _path_files -/ ;;
            file) _path_files ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _HOMELAB_COMPLETE=zsh_complete homelab 2>/dev/null)
    (( $#described )) && _describe -V -t homelab homelab described
    (( $#bare )) && compadd -V homelab -a bare
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _homelab "$@"; else compdef _homelab homelab; fi
""",
    "fish": """\
function __homelab_complete
    set -l words (commandline -cp)
    set -l word (commandline -ct)
    for line in (env _HOMELAB_COMPLETE=fish_complete COMP_WORDS="$words" COMP_CWORD="$word" homelab 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                __fish_complete_directories "$word"
            case file
                __fish_complete_path "$word"
        end
    end
end
complete -c homelab -f -k -a '(__homelab_complete)'
""",
}

WHERE = {
    "bash": 'add to ~/.bashrc: eval "$(homelab completion bash)"',
    "zsh": 'add to ~/.zshrc, behind compinit: eval "$(homelab completion zsh)"',
    "fish": "homelab completion fish > ~/.config/fish/completions/homelab.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print shell completion: `eval "$(homelab completion bash)"`, or for fish `homelab completion fish | source`."""
    output.line(SCRIPTS[shell].rstrip("\n"))
    output.hint(f"to have it always, {WHERE[shell]}")
