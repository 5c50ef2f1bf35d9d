"""Prompts: Jinja templates that present study examples and a query to a language model.

A template gets `study` (a list of examples with `.input` and `.output`), `query`, `symbols` (all
output symbols, a list) and `pool` (the symbols that this response may use, or none). Its text is
continued by the model, unless a line `--- system`, `--- user` or `--- assistant` begins a message
of a chat. It may set

- `stop`, the text at which an answer to a text ends (by default the end of the line);
- `max_tokens` of an answer (64);
- `marker`, such as `Answer:`, where the model shall reason first: the answer follows it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from biml.arguments import check_type
from biml.episodes.episode import Example
from biml.errors import FormatError, check_extra, first_line, merge_errors, unknown_name
from biml.io import read_text

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent / "templates"
SUFFIX = ".jinja"

TEMPLATES = {
    "plain": "examples as lines of text, continued by the model; for models that are no chat",
    "chat": "examples and a question in one message of a chat",
    "rules-first": "a chat in which the model states the rules before it answers",
}
"""Templates that come with biml."""

DEFAULT_TEMPLATE = "plain"

_ROLE = re.compile(r"^--- (system|user|assistant)[ \t]*$", re.MULTILINE)


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    text: str


class Shown(NamedTuple):
    """A study example as templates get it."""

    input: str
    output: str


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, as it stands in the log."""

    text: str

    @property
    def messages(self) -> list[Message]:
        """The messages of a chat; none of a text to be continued.

        >>> Prompt("--- user\\nTranslate: dax\\n").messages
        [Message(role='user', text='Translate: dax')]
        """
        _, *parts = _ROLE.split(self.text)
        return [
            Message(*pair) for pair in zip(parts[::2], map(str.strip, parts[1::2]), strict=True)
        ]


@dataclass(frozen=True)
class PromptTemplate:
    """A template with its name and source; `where` names it in messages."""

    name: str
    source: str
    where: str

    @property
    def digest(self) -> str:
        """The template's hash, as results state it."""
        return blake2b(self.source.encode(), digest_size=6).hexdigest()

    @cached_property
    def stop(self) -> str:
        return self._setting("stop", "\n")

    @cached_property
    def max_tokens(self) -> int:
        return self._setting("max_tokens", 64)

    @cached_property
    def marker(self) -> str:
        return self._setting("marker", "")

    def render(
        self, study: Sequence[Example], query: Sequence[str], symbols: Sequence[str], pool: Any
    ) -> Prompt:
        """Present one query; a FormatError names the line of the template that fails."""
        shown = [Shown(" ".join(e.input), " ".join(e.output)) for e in study]
        values = {"study": shown, "query": " ".join(query), "symbols": list(symbols)}
        return Prompt(str(self._module(values | {"pool": list(pool or ())})).strip())

    def _setting(self, name: str, default: Any) -> Any:
        value = getattr(self._module(_TRIAL), name, default)
        check_type(f"{self.where}: {name}", value, type(default))
        if isinstance(value, int) and value < 1:
            raise FormatError(f"{name} is {value}, but must be at least 1", source=self.where)
        return value

    def _module(self, values: dict[str, Any]) -> Any:
        template = self._template
        try:
            module = template.make_module(values)
            str(module).encode()  # a prompt has to be UTF-8
            return module
        except Exception as error:  # whatever the expressions of a template may raise
            line, at = None, error.__traceback__
            while at is not None:
                if at.tb_frame.f_code.co_filename == self.where:
                    line = template.get_corresponding_lineno(at.tb_lineno)
                at = at.tb_next
            problem = f"{first_line(error)}; {_KNOWN}"
            raise FormatError(problem, source=self.where, line=line) from None

    @cached_property
    def _template(self) -> "jinja2.Template":
        check_extra("llm", "prompts need", "jinja2")
        import jinja2
        from jinja2 import meta, nodes
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # In a sandbox, so that the template of somebody else runs no code of its own.
        environment = ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            tree = environment.parse(self.source)
            code = environment.compile(tree, self.name, self.where)
        except jinja2.TemplateSyntaxError as error:
            raise FormatError(
                f"is not a valid template ({error.message})", source=self.where, line=error.lineno
            ) from None
        unknown = meta.find_undeclared_variables(tree) - set(_TRIAL)
        if errors := [
            FormatError(
                f"unknown variable {name.name!r}; {_KNOWN}", source=self.where, line=name.lineno
            )
            for name in tree.find_all(nodes.Name)
            if name.ctx == "load" and name.name in unknown
        ]:
            raise merge_errors(errors)
        return jinja2.Template.from_code(environment, code, {})


_TRIAL: dict[str, Any] = {
    "study": [Shown("dax", "RED"), Shown("wif dax", "RED RED")],
    "query": "wif",
    "symbols": ["RED", "BLUE"],
    "pool": ["RED"],
}
_KNOWN = f"a template gets {', '.join(_TRIAL)}, and of each study example input and output"


def open_template(name: str = DEFAULT_TEMPLATE) -> PromptTemplate:
    """Open a template of biml, or the user's file; a FormatError says what is wrong with it."""
    path = FOLDER / f"{name}{SUFFIX}" if name in TEMPLATES else Path(name)
    if name not in TEMPLATES and not path.is_file():
        close = unknown_name("prompt", name, TEMPLATES, "--prompt")
        raise type(close)(f"{close}, or the path of a template")
    template = PromptTemplate(path.stem, read_text(path), str(path))
    _ = template.stop, template.max_tokens, template.marker
    prompt = template.render(
        [Example(("wif",), ("RED",))], ("dax",), ("RED", "BLUE"), None
    )  # an error now, not after the model is loaded
    template.render([], ("dax",), ("RED", "BLUE"), ("RED",))
    if "dax" not in prompt.text:
        raise FormatError("does not show the query: write {{ query }}", source=str(path))
    return template
