"""Each command that a page shows is one that its program takes."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.docs.grammar import options_of, refused
from tests.docs.pages import manual
from tests.docs.shell import Command, commands

PAGES = {page.name: page for page in manual()}
LANGUAGES = {"sh", "json", "toml", "yaml", "python", "js", "sql", "hcl", "promql", "xml", "text"}
SHOWN = re.compile(r"(?:\.venv/bin/)?sluice [a-z].*|make [a-z-]+.*|python3? -m .*|kubectl .*")
ALTERNATIVES = re.compile(r"[a-z-]+(?:\|[a-z-]+)+")
OPTION = re.compile(r"^--?[a-z][a-z-]*")


@pytest.mark.parametrize("name", PAGES)
def test_block_says_its_language(name: str) -> None:
    """``sh`` is run or parsed; ``text`` is what programs print. Another fence would escape."""
    wrong = [block.place for block in PAGES[name].blocks if block.language not in LANGUAGES]
    assert wrong == [], "begin it with one of " + ", ".join(sorted(LANGUAGES))


@pytest.mark.parametrize("name", PAGES)
def test_block_of_shell_has_only_commands_that_exist(name: str) -> None:
    for block in PAGES[name].blocks:
        if block.language == "sh":
            syntax = subprocess.run(
                ["/bin/bash", "-n"], input=block.text, capture_output=True, text=True, check=False
            )
            assert syntax.returncode == 0, (block.place, syntax.stderr)
            found = [refused(command) for command in commands(block.text)]
            assert [one for one in found if one] == [], block.place


@pytest.mark.parametrize("name", PAGES)
def test_command_within_a_line_exists(name: str) -> None:
    """In a table or a sentence a command may be shown in part: its options must exist."""
    found = [
        (words.place, verdict)
        for words in PAGES[name].code
        if SHOWN.fullmatch(words.text)
        for verdict in shown_wrongly(words.text)
    ]
    assert found == []


def shown_wrongly(text: str) -> Iterator[str]:
    """Say what is wrong with a command that stands within a line, perhaps with ``[…]`` in it."""
    words = text.replace("[", " ").replace("]", " ").replace("…", " ").split()
    if words[0].endswith("sluice"):
        for one in spelt_out(words[1:]):
            options = options_of(tuple(one))
            if options is None:
                yield f"there is no `sluice {' '.join(one)}`"
                continue
            given = {match[0] for word in one if (match := OPTION.match(word))}
            yield from (f"`{text}`: no option {flag}" for flag in given - options - {"--help"})
    elif words[0] == "make":
        yield from filter(None, (refused(Command(tuple(words[:2]))),))
    elif words[0].startswith("python"):
        yield from filter(None, (refused(Command(tuple(words))),))


def spelt_out(words: list[str]) -> Iterator[list[str]]:
    """Yield the words once for each alternative: ``tenant add|list`` is two commands."""
    for position, word in enumerate(words):
        if ALTERNATIVES.fullmatch(word):
            for one in word.split("|"):
                yield [*words[:position], one, *words[position + 1 :]]
            return
    yield words


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("sluice tenant add shop --kind public", "No such option: --kind"),
        ("sluice tenant set", "Missing argument"),
        ("sluice tenants list", "there is no `sluice tenants"),
        ("sluice gateway --processes many", "valid integer"),
        ("make kill-tests", "no kill-tests"),
        ("make test ROUND=3", "no ROUND"),
        ("curl http://127.0.0.1:8080/api/ingestion/tracks -d '{}'", "the API has no POST"),
        ("curl http://127.0.0.1:8080/api/ingestion/track -d '{\"user_id\": 1}'", "the body"),
        ("curl 'http://127.0.0.1:8080/api/ingestion/stats?windows=24h'", "no parameter windows"),
        ("curl 'http://127.0.0.1:8080/api/ingestion/stats?window=1y'", "window is one of"),
        ("curl --reqest POST http://127.0.0.1:8080/livez", "--reqest"),
        ("kubectl apply -q k8s/overlays/dev", "unknown shorthand flag"),
        ("kubectl apply -k k8s/overlays/none", "no folder"),
        ("kubectl exec sluice-gateway-0 -- sluice doctr", "there is no `sluice doctr"),
        ("sh k8s/once.sh k8s/overlays/gke rewind --too 7d | kubectl apply -f -", "--too"),
        ("sh k8s/once.sh k8s/overlays/none setup", "no folder"),
        ("docker build --targets parts .", "recorded without --targets"),
        ("docker swarm init", "is not recorded"),
        ("python -m loadtest.bench --writes", "no option --writes"),
        ("python -m loadtest.nothing", "no module"),
        ("systemctl restart sluice", "no test knows the program 'systemctl'"),
        ("export A=$(sluice tokens demo)", "there is no `sluice tokens"),
        ("for X in a; do sluice tokn $X; done", "there is no `sluice tokn"),
        ("sluice send f.ndjson --api-key k | kubectl applyy -f -", "unknown command"),
    ],
)
def test_wrong_command_is_noticed(line: str, verdict: str) -> None:
    assert any(verdict in refused(command) for command in commands(line)), [
        refused(command) for command in commands(line)
    ]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("sluice tenant add|lost", "there is no `sluice tenant lost`"),
        ("sluice run [--hots H]", "no option --hots"),
        ("make kill-tests ROUNDS=50", "no kill-tests"),
    ],
)
def test_wrong_command_within_a_line_is_noticed(text: str, verdict: str) -> None:
    assert verdict in " ".join(shown_wrongly(text))
