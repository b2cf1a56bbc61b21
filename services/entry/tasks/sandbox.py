"""Templates of models, run in a sandbox, and at no more cost than what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from jinja2.exceptions import TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

OF_A_DICT: Final = frozenset(dir(dict))


class Sandbox(ImmutableSandboxedEnvironment):
    """What every template may do, which is little."""

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, autoescape=False)
        self.globals["raise_exception"] = _refuse
        self.filters["tojson"] = _json  # Jinja's own escapes what HTML minds

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what `message.role` means; to ask a dict for such an attribute costs an error."""
        if type(obj) is dict and attribute in obj and attribute not in OF_A_DICT:
            return obj[attribute]
        return super().getattr(obj, attribute)


class SandboxedTemplate:
    """One template. What it raises is whatever its text makes it raise."""

    def __init__(self, text: str) -> None:
        self._sandbox = Sandbox()
        self._template = self._sandbox.from_string(text)
        self._globals = dict(self._template.globals)

    def __repr__(self) -> str:
        return f"<SandboxedTemplate {sorted(self._globals)}>"

    def render(self, values: Mapping[str, Any]) -> str:
        """Do as `Template.render` does, which looks through all globals for each text anew."""
        template = self._template
        known = {**self._globals, **values}
        context = Context(self._sandbox, known, template.name, template.blocks)
        return "".join(template.root_render_func(context))


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
