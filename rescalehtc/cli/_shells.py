r"""Scripts that make shells complete the command.

Typer's own scripts offer file names where a command takes none, do not quote names with spaces, and
ignore the first Tab in zsh. These scripts run the command with the line up to the cursor, by the
protocol of Typer for fish: each line of its output is a value, and may have a help text after a tab.
The help texts FILES and FOLDERS make the shell complete names of files and folders.
"""

from __future__ import annotations

from typing import Any

from typer import _completion_shared

FILES = ":files"
FOLDERS = ":folders"

_CALL = (
    '_RESCALEHTC_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS="{line}"'
    " rescalehtc 2>/dev/null"
)

# readline replaces the word since the last colon, so that values must not repeat what is before it.
BASH = rf"""
_rescalehtc_completion() {{
    local line=${{COMP_LINE:0:COMP_POINT}} reply value word
    word=${{line##*[[:space:]]}}
    COMPREPLY=()
    while IFS= read -r reply; do
        case $reply in
            *$'\t'{FILES}) compopt -o default; return ;;
            *$'\t'{FOLDERS}) compopt -o dirnames; return ;;
            '') continue ;;
        esac
        value=${{reply%%$'\t'*}}
        if [[ $COMP_WORDBREAKS == *:* && $word == *:* && $value == "${{word%:*}}:"* ]]; then
            value=${{value#"${{word%:*}}:"}}
        fi
        [[ ${{COMP_WORDS[COMP_CWORD]}} == [\"\']* ]] || printf -v value %q "$value"
        COMPREPLY+=("$value")
    done < <({_CALL.format(line="$line")})
}}
complete -F _rescalehtc_completion rescalehtc
"""

# zsh loads a file with #compdef on the first Tab, and runs it as the function.
ZSH = rf"""
#compdef rescalehtc

_rescalehtc() {{
    local reply line="${{(j: :)words[1,CURRENT]}}"
    local -a values
    for reply in "${{(@f)$({_CALL.format(line="$line")})}}"; do
        case $reply in
            *$'\t'{FILES}) _files; return ;;
            *$'\t'{FOLDERS}) _files -/; return ;;
            ?*) values+=("${{reply%%$'\t'*}}") ;;
        esac
    done
    [[ $PREFIX == --*=* ]] && compset -P '*='
    compadd -a values
}}

if [[ $funcstack[1] == _rescalehtc ]]; then
    _rescalehtc "$@"
else
    compdef _rescalehtc rescalehtc
fi
"""

FISH = rf"""
function __rescalehtc_complete
    set -lx _RESCALEHTC_COMPLETE complete_fish
    set -lx _TYPER_COMPLETE_FISH_ACTION get-args
    set -lx _TYPER_COMPLETE_ARGS (commandline -cp)
    for reply in (rescalehtc 2>/dev/null)
        if string match -q '*'\t'{FILES}' -- $reply
            __fish_complete_path (commandline -ct)
        else if string match -q '*'\t'{FOLDERS}' -- $reply
            __fish_complete_directories (commandline -ct)
        else
            echo $reply
        end
    end
end
complete --command rescalehtc --no-files --arguments '(__rescalehtc_complete)'
"""


def use_scripts() -> None:
    """Make `--install-completion` and `--show-completion` use the scripts of this module."""
    scripts: dict[str, Any] = _completion_shared._completion_scripts  # pyright: ignore[reportPrivateUsage] - Typer has no public way
    for shell, script in (("bash", BASH), ("zsh", ZSH), ("fish", FISH)):
        scripts[shell] = script.replace("%", "%%")
