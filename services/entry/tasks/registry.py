"""Which class does which task, and a task made once per model."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.catalog import Model
from libs.common.errors import UnknownModel
from services.entry.tasks.automatic_speech_recognition import AutomaticSpeechRecognition
from services.entry.tasks.base import Task, Templates
from services.entry.tasks.dumb_pipe import DumbPipe
from services.entry.tasks.image_classification import ImageClassification
from services.entry.tasks.image_text_to_text import ImageTextToText
from services.entry.tasks.image_to_text import ImageToText
from services.entry.tasks.media import NO_LIMITS, FileLimits
from services.entry.tasks.multimodal_embeddings import MultimodalEmbeddings
from services.entry.tasks.object_detection import ObjectDetection
from services.entry.tasks.summarization import Summarization
from services.entry.tasks.text_classification import TextClassification
from services.entry.tasks.text_embeddings import TextEmbeddings
from services.entry.tasks.text_generation import TextGeneration
from services.entry.tasks.text_to_image import TextToImage
from services.entry.tasks.text_to_speech import TextToSpeech
from services.entry.tasks.translation import Translation

_ALL: tuple[type[Task], ...] = (
    AutomaticSpeechRecognition,
    DumbPipe,
    ImageClassification,
    ImageTextToText,
    ImageToText,
    MultimodalEmbeddings,
    ObjectDetection,
    Summarization,
    TextClassification,
    TextEmbeddings,
    TextGeneration,
    TextToImage,
    TextToSpeech,
    Translation,
)
TASKS: Mapping[str, type[Task]] = {cls.name: cls for cls in _ALL}


class TaskRegistry:
    """The compiled task of each model; made again when the catalog's entry changes."""

    def __init__(self, templates: Templates, limits: FileLimits = NO_LIMITS) -> None:
        self._templates = templates
        self._limits = limits
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
            task.limits = self._limits
        return task
