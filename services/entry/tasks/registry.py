"""Which class does which task, and a task made once per model."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.catalog import Model
from libs.common.errors import UnknownModel
from services.entry.tasks.base import Task, Templates
from services.entry.tasks.text_embeddings import TextEmbeddings
from services.entry.tasks.text_generation import TextGeneration

TASKS: Mapping[str, type[Task]] = {cls.name: cls for cls in (TextGeneration, TextEmbeddings)}


class TaskRegistry:
    """The compiled task of each model; made again when the catalog's entry changes."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._made: dict[str, Task] = {}

    def __repr__(self) -> str:
        return f"<TaskRegistry {' '.join(self._made)}>"

    def of(self, model: Model) -> Task:
        """Return the model's task; UnknownModel for a task that entry does not know."""
        task = self._made.get(model.name)
        if task is None or task.model is not model:
            cls = TASKS.get(model.task)
            if cls is None:
                raise UnknownModel(f"No such model {model.name} or task")
            task = self._made[model.name] = cls(model, self._templates)
        return task
