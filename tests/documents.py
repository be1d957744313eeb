"""The documentation as the suite sees it: pages, headings, blocks, and a project to run blocks in."""

import ast
import doctest
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import httpx

from tests import warm
from tests.servers import HOST, ROOT, stop

README = ROOT / "README.md"
DOCS = ROOT / "docs"
GUIDE = DOCS / "howto/install-in-an-existing-project.md"
RUN_BLOCKS = ROOT / "tests" / "run_blocks.py"

#: A block that begins with a comment naming a file is that file of the project, or lines for it.
NAMES_A_FILE = re.compile(r"^(?:# |\{# )([\w./-]+\.(?:py|html))(?: #\})?$")

#: A line that stands for what is there already.
HAS_GAP = re.compile(r"^( *)\.\.\.,?$", re.MULTILINE)

#: Commands that serve until they are stopped.
SERVES = re.compile(r"runserver|\bgunicorn\b|\buvicorn\b")

#: What a reader types after a change of models: three commands, in one process because that is quicker.
MIGRATE = """
import importlib
from django.core.management import call_command
call_command('makemigrations', verbosity=0)
importlib.invalidate_caches()
call_command('migrate', verbosity=0)
call_command('migrate_user_dbs')
"""

#: A command of Django's and nothing for a shell to do but to take quotes away.
ONE_COMMAND = re.compile(r"""python manage\.py( [\w:./=@-]+| '[^']*'| "[^"$`\\]*")+""")

#: What `python manage.py` does, with one place for all that it prints.
MANAGE = """
import os, runpy, sys
os.dup2(1, 2)
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""

Visit = Callable[[str], None]


@dataclass(frozen=True)
class Block:
    """One fenced block of code."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """Return the path of the project's file that the block names in its first line."""
        match = NAMES_A_FILE.match(self.text.partition("\n")[0])
        return match[1] if match else None


def pages() -> list[Path]:
    """Return every page of the documentation."""
    return [README, *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page; directives of Sphinx are no code and are left out."""
    lines = iter(enumerate(page.read_text().splitlines(), start=1))
    for number, line in lines:
        if fence := re.match(r"\s*(`{3,})(.*)$", line):
            inside = []
            for _, text in lines:
                if text.strip() == fence[1]:
                    break
                inside.append(text)
            if not fence[2].startswith("{"):
                yield Block(page, number + 1, fence[2].strip(), dedent("\n".join(inside)) + "\n")


def headings_of(page: Path, *, below: str | None = None) -> list[str]:
    """Return the names in the headings that are nothing but a name in backquotes.

    With `below`, only those in the section with that heading.
    """
    names, level_below, inside_fence = [], 0, False
    for line in page.read_text().splitlines():
        inside_fence ^= line.lstrip().startswith("```")
        match = re.match(r"(#+) (.*)$", line)
        if inside_fence or match is None:
            continue
        level = len(match[1])
        if below is not None and match[2] == below:
            level_below = level
        elif level <= level_below:
            level_below = 0
        elif (below is None or level_below) and (name := re.fullmatch(r"`([^`]+)`", match[2])):
            names.append(name[1])
    return names


def section_of(page: Path, heading: str) -> str:
    """Return the text below a heading, down to the next one of its level or above."""
    start = re.search(rf"^(#+) {re.escape(heading)}$", page.read_text(), re.MULTILINE)
    assert start, f"{page} has no heading {heading!r}"
    text = page.read_text()[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", text, re.MULTILINE)
    return text[: end.start()] if end else text


def prose_of(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return re.sub(r"^ *(`{3,}).*?^ *\1$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


# Snippets for files that are there already


def merge(source: str, snippet: str) -> str:
    """Put a snippet into a file of settings or addresses as its reader would.

    An assignment takes the place of the one that the file has; in a list, the first `...` stands for
    what the file's list has and other `...` for nothing. Imports go to the top, all else to the end.
    """
    # Because the guide writes no comma after the dots.
    snippet = HAS_GAP.sub(r"\1...,", snippet)
    for statement in ast.parse(snippet).body:
        text = ast.get_source_segment(snippet, statement)
        assert text is not None
        if isinstance(statement, ast.ImportFrom | ast.Import):
            source = _below_docstring(source, text)
        elif (name := _assigned_name(statement)) and (old := _assignment(source, name)):
            source = source.replace(old, _fill_in(text, old))
        else:
            source += f"\n{text}\n"
    return source


def _below_docstring(source: str, text: str) -> str:
    first = ast.parse(source).body[0]
    end = first.end_lineno if isinstance(first, ast.Expr) else 0
    lines = source.splitlines()
    return "\n".join([*lines[:end], text, *lines[end:]]) + "\n"


def _assigned_name(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def _assignment(source: str, name: str) -> str | None:
    found = [each for each in ast.parse(source).body if _assigned_name(each) == name]
    return ast.get_source_segment(source, found[-1]) if found else None


def _fill_in(text: str, old: str) -> str:
    new_value = ast.parse(text).body[0].value  # type: ignore[attr-defined]
    if not isinstance(new_value, ast.List) or not any(map(_is_gap, new_value.elts)):
        return text
    old_value = ast.parse(old).body[0].value  # type: ignore[attr-defined]
    items: list[str] = []
    for element in new_value.elts:
        if not _is_gap(element):
            items.append(ast.unparse(element))
        elif old_value is not None:
            items += map(ast.unparse, old_value.elts)
            old_value = None
    items = list(dict.fromkeys(items))  # because nobody adds a line that is there already
    name = text.partition("=")[0]
    return f"{name}= [\n" + "".join(f"    {item},\n" for item in items) + "]"


def _is_gap(element: ast.expr) -> bool:
    return isinstance(element, ast.Constant) and element.value is ...


# A project


class Project:
    """A Django project in a scratch directory, in which a reader does what a page says."""

    def __init__(self, root: Path, *, settings: str = "notebook.settings") -> None:
        self.root = root
        self.settings = settings
        ours = {"DJANGO_SETTINGS_MODULE", "NOTEBOOK_DATA", "PYTHONPATH", "DSUD_TEST_DIR"}
        self.environment = {name: text for name, text in os.environ.items() if name not in ours} | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(root),  # because gunicorn puts a socket there
            "NO_COLOR": "1",
        }

    def run(self, command: str) -> str:
        """Run a command line in the project's directory and return what it prints."""
        if ONE_COMMAND.fullmatch(command):
            told = {"environment": self.environment, "directory": self.root}
            finished = warm.run(MANAGE, *shlex.split(command)[2:], **told)
        else:
            finished = subprocess.run(
                ["bash", "-c", command],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
        assert finished.returncode == 0, f"{command}\n{finished.stdout}"
        return finished.stdout

    def shell(self, code: str) -> str:
        """Run code in the shell of the project and return what it prints."""
        return self.run(f'python manage.py shell -v 0 -c "{code}"')

    def write(self, file: str, text: str) -> None:
        """Write a file, or put a snippet where it belongs."""
        path = self.root / file
        if path.exists() and (path.name == "settings.py" or HAS_GAP.search(text)):
            text = merge(path.read_text(), text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def execute(self, blocks: list[Block]) -> None:
        """Execute blocks of Python in one namespace of one process."""
        sources = [{"name": str(block), "text": block.text} for block in blocks]
        finished = warm.run(
            RUN_BLOCKS.read_text(),
            json.dumps(sources),
            environment=self.environment | {"DJANGO_SETTINGS_MODULE": self.settings},
            directory=self.root,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr

    @contextmanager
    def serve(self, command: str) -> Iterator[str]:
        """Run the command of a server, on a free port in place of 8000, until the block ends."""
        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
        if "runserver" in command:  # because its reloader is a second process
            command = command.replace("runserver", f"runserver --noreload {port}")
        command = "exec " + re.sub(r"\b8000\b", str(port), command)
        log = self.root / "server.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        address = f"http://{HOST}:{port}"
        try:
            transport = httpx.HTTPTransport(retries=6)  # 0, 0.5, 1, 2, 4 and 8 seconds apart
            with httpx.Client(transport=transport, timeout=30) as browser:
                answer = browser.get(f"{address}/admin/login/")
            assert answer.status_code < 500, log.read_text()
            yield address
        except Exception as error:
            error.add_note(f"The log of {command}:\n{log.read_text()[-5000:]}")
            raise
        finally:
            stop(server)
            log.unlink()


def follow(project: Project, blocks: list[Block], *, visit: Visit, skipped: list[str]) -> None:
    """Do in a project what the blocks of a page say, in their order.

    `visit` is called with the address of each server that the page starts; commands that begin with
    one of those in `skipped` are not run. Models are migrated, unless the page says how.
    """
    says_how = any("makemigrations" in block.text for block in blocks)
    for kind, group in groupby(blocks, key=_kind):
        if kind == "python":
            project.execute(list(group))
            continue
        for block in group:
            if kind == "console":
                _type_in(project, block, visit=visit, skipped=skipped)
                continue
            project.write(str(block.file), block.text)
            if Path(str(block.file)).name == "models.py" and not says_how:
                project.shell(MIGRATE)


def _kind(block: Block) -> str:
    if block.file:
        return "file"
    kinds = {"python": "python", "pycon": "python", "console": "console"}
    assert block.language in kinds, f"{block} is neither run nor a file of the project"
    return kinds[block.language]


def _type_in(project: Project, block: Block, *, visit: Visit, skipped: list[str]) -> None:
    for command, expected in commands_of(block):
        if any(command.startswith(each) for each in skipped):
            continue
        if SERVES.search(command):
            with project.serve(command) as address:
                visit(address)
            continue
        output = project.run(command)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        matches = doctest.OutputChecker().check_output(expected, output, flags)
        assert not expected or matches, f"{block}: $ {command}\n{output}\nis not\n{expected}"


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that is printed below it."""
    text = block.text.replace("\\\n", " ")
    assert text.startswith("$ "), f"{block} does not begin with a command"
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output
