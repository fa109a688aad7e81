"""`python -m gateway prompts`: the prompt library as files in a folder, so that git can keep it."""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from gateway.cli.client import CommandFailed, add_options, call, connect
from gateway.cli.prompt_files import FOLDERS, Kind, PromptFile, from_server, read_folder, write

_PATHS: dict[Kind, str] = {"prompts": "/prompts", "partials": "/prompts/partials"}
_PAGE = 500


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("prompts", help="keep prompts and partials as files")
    actions = parser.add_subparsers(dest="action", required=True)
    pull = actions.add_parser("pull", help="write the published prompts and partials into a folder")
    pull.add_argument("folder", type=Path)
    pull.add_argument("--prune", action="store_true", help="delete files of prompts that are gone")
    add_options(pull)
    push = actions.add_parser("push", help="publish what differs in a folder; shows a diff first")
    push.add_argument("folder", type=Path)
    push.add_argument("--yes", action="store_true", help="do not ask")
    push.add_argument("--dry-run", action="store_true", help="show the diff, change nothing")
    push.add_argument("--no-publish", action="store_true", help="make new versions, leave the old published")
    push.add_argument("--prune", action="store_true", help="archive prompts that have no file")
    add_options(push)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with connect(options) as client:
        library = _Library(client)
        if options.action == "pull":
            return _pull(library, options)
        return _push(library, options)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the gateway has of one slug: as a file, and its newest version."""

    file: PromptFile
    latest: int


@dataclass(frozen=True, slots=True)
class Change:
    action: Literal["create", "update", "archive"]
    file: PromptFile
    latest: int  # version the change is made on
    diff: str


class _Library:
    """The gateway's prompts, over its API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._collections: dict[str, str] = {item["id"]: item["name"] for item in self._items("/collections")}

    def stored(self) -> dict[tuple[Kind, str], Stored]:
        """Published versions by kind and slug."""
        found = {}
        for kind, path in _PATHS.items():
            for item in self._items(path):
                shown = call(self._client, "GET", f"{path}/{item['slug']}")
                file = from_server(kind, shown, self._collections)
                found[kind, file.slug] = Stored(file, shown["latest_version"])
        return found

    def apply(self, change: Change, *, publish: bool) -> int | None:
        """Make one change; the number of the new version, if there is one."""
        file, path = change.file, _PATHS[change.file.kind]
        if change.action == "archive":
            call(self._client, "DELETE", f"{path}/{file.slug}")
            return None
        body = {**file.body(), "collection_id": self._collection(file.collection)}
        if change.action == "create":
            call(self._client, "POST", path, json={**body, "slug": file.slug})
            return 1
        guard = {"if-match": f'"{change.latest}"'}
        made = call(self._client, "PUT", f"{path}/{file.slug}", json=body, headers=guard)
        number = int(made.get("prompt_version") or made["version"])
        if publish:
            call(self._client, "PUT", f"{path}/{file.slug}/makeDefault", json={"version": number})
        return number

    def _collection(self, name: str | None) -> str | None:
        """The id of a collection, which is made where there is none of the name."""
        if name is None:
            return None
        for id, known in self._collections.items():
            if name in (id, known):
                return id
        made = str(call(self._client, "POST", "/collections", json={"name": name})["id"])
        self._collections[made] = name
        return made

    def _items(self, path: str) -> Iterator[dict[str, Any]]:
        page = 0
        while True:
            listed = call(self._client, "GET", path, params={"current_page": page, "page_size": _PAGE})
            yield from listed["data"]
            page += 1
            if page * _PAGE >= listed["total"]:
                return


def _pull(library: _Library, options: argparse.Namespace) -> int:
    files = [stored.file for stored in library.stored().values()]
    written = []
    for file in files:
        path = options.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = write(file)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(file.path)
    known = {file.path for file in files}
    extra = [path for path in _present(options.folder) if path not in known]
    if options.prune:
        for path in extra:
            (options.folder / path).unlink()
    result = {"written": written, "unchanged": len(files) - len(written), "not_on_the_gateway": extra}
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    print(
        "\n".join([*[f"written    {path}" for path in written], *_about_extra(extra, pruned=options.prune)])
    )
    print(f"{len(written)} written, {len(files) - len(written)} unchanged")
    return 0


def _about_extra(extra: list[str], *, pruned: bool) -> list[str]:
    return [f"{'deleted   ' if pruned else 'not there '} {path}" for path in extra]


def _present(folder: Path) -> list[str]:
    return sorted([f"{kind}/{path.name}" for kind in FOLDERS for path in (folder / kind).glob("*.md")])


def _push(library: _Library, options: argparse.Namespace) -> int:
    if not options.folder.is_dir():
        raise CommandFailed(f"{options.folder} is no folder: make one with prompts pull")
    changes = plan(read_folder(options.folder), library.stored(), prune=options.prune)
    if not options.json:
        print(_shown(changes))
    if changes and not options.dry_run:
        _confirm(len(changes), options)
    done = [] if options.dry_run else [_apply(library, change, options) for change in changes]
    if options.json:
        described = [{"action": one.action, "path": one.file.path, "diff": one.diff} for one in changes]
        print(json.dumps({"changes": described, "done": done}, indent=2))
    return 0


def plan(files: list[PromptFile], stored: dict[tuple[Kind, str], Stored], *, prune: bool) -> list[Change]:
    """What must change so that the gateway has what the files say."""
    changes = []
    for file in files:
        there = stored.get((file.kind, file.slug))
        diff = _diff(file.path, write(there.file) if there else "", write(file))
        if diff:
            changes.append(Change("update" if there else "create", file, there.latest if there else 0, diff))
    if prune:
        kept = {(file.kind, file.slug) for file in files}
        gone = [one for key, one in stored.items() if key not in kept]
        changes += [
            Change("archive", one.file, one.latest, _diff(one.file.path, write(one.file), "")) for one in gone
        ]
    return changes


def _apply(library: _Library, change: Change, options: argparse.Namespace) -> dict[str, Any]:
    try:
        version = library.apply(change, publish=not options.no_publish)
    except CommandFailed as error:
        raise CommandFailed(f"{change.file.path}: {error}. Changes before it were made") from error
    if not options.json:
        print(f"{change.action + 'd':<9} {change.file.path}" + (f"  version {version}" if version else ""))
    return {"path": change.file.path, "action": change.action, "version": version}


def _confirm(count: int, options: argparse.Namespace) -> None:
    if options.yes:
        return
    if options.json or not sys.stdin.isatty():
        raise CommandFailed(
            "nothing was changed: say --yes to make these changes, or --dry-run to only see them"
        )
    what = "1 change" if count == 1 else f"{count} changes"
    if input(f"Make {what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandFailed("nothing was changed")


def _diff(path: str, old: str, new: str) -> str:
    names = (f"gateway/{path}" if old else "/dev/null", path if new else "/dev/null")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    return "\n".join(lines)


_COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}


def _shown(changes: list[Change]) -> str:
    """The diffs, in colours where a person reads."""
    if not changes:
        return "nothing differs"
    text = "\n".join([change.diff for change in changes])
    if not sys.stdout.isatty():
        return text
    return "\n".join([_COLOURS.get(line[:1], "") + line + "\x1b[0m" for line in text.split("\n")])
