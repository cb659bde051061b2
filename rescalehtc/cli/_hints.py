"""Hints for words that users know from other command lines."""

from __future__ import annotations

import re
from typing import Any

# The command to use instead, by the first word that users try.
_COMMANDS = {
    **dict.fromkeys(("get", "list", "ls", "ps", "describe", "job"), "jobs"),
    **dict.fromkeys(("run", "create", "apply", "submit-job", "start"), "submit"),
    **dict.fromkeys(("status", "wait", "stat"), "watch"),
    **dict.fromkeys(("kill", "stop", "terminate"), "cancel"),
    **dict.fromkeys(("delete", "rm"), "tasks delete"),
    **dict.fromkeys(("auth", "configure", "signin"), "login"),
    **dict.fromkeys(("retry", "resubmit"), "rerun"),
    **dict.fromkeys(("download", "fetch"), "results"),
    **dict.fromkeys(("upload", "cp", "sync"), "files"),
    "push": "images push",
    "version": "--version",
    "help": "--help",
    "completion": "--install-completion",
}
# The same for the commands of a group.
_SUBCOMMANDS = {
    **dict.fromkeys(("rm", "remove"), "delete"),
    **dict.fromkeys(("new", "add"), "create"),
    "get": "show",
    "ls": "",
    "list": "",
}


def with_hint(text: str, context: Any) -> str:
    """Return the message of a usage error, with a hint if there is one.

    Args:
        text: The message.
        context: Typer's context of the command, or None.
    """
    if context is None:
        return text
    if match := re.search(r"No such command '(\S+)'\.", text):
        better = _better_command(match[1], context)
        return text if better is None else f"{text[: match.end()]} Use `{better}`."
    if "unexpected extra argument" not in text:
        return text
    options = {name for parameter in context.command.params for name in parameter.opts}
    if "--command" in options:
        return f'{text}. Put a command in quotes: --command "python solve.py".'
    if "--task" in options:
        return f"{text}. Name a task with --task, and a group with --group."
    return text


def _better_command(word: str, context: Any) -> str | None:
    path = str(context.command_path)
    if context.parent is None:
        better = _COMMANDS.get(word)
        return better and f"{path} {better}"
    better = _SUBCOMMANDS.get(word)
    if better == "":
        return path if context.command.invoke_without_command else None
    return f"{path} {better}" if better in context.command.commands else None
