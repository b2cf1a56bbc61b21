"""Entry's one sentence: check the call, choose where it goes, send it, fall over where that helps.

`plan` decides, without waiting; `run` and `stream` act on what it decided.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.deprecation import deprecated_from_ms
from libs.common.envelope import NO_BOUNDS, InferRequest, TimeBounds
from libs.common.errors import FinetuneIncomplete, LoraUnsupported, RequestError, UnknownModel
from libs.common.fallbacks import chain
from libs.common.ports import Inference
from libs.common.ranking import Place, Wish, affinity_key, wish_of
from libs.common.request_ids import RequestIds
from libs.common.world import World
from libs.eager import Promise
from services.entry.access import CONTROL_FIELDS, allowed, check_access, not_allowed
from services.entry.attempts import Attempts
from services.entry.bad_input import bad_input
from services.entry.calls import NOTHING, Answer, Call, Plan
from services.entry.continuing import Bounds, Continuing
from services.entry.falling_back import FallingBack
from services.entry.holds import Meter, most_used
from services.entry.limits import permits_of, tighter, time_bounds
from services.entry.metrics import OVERLOADED, EntryMetrics
from services.entry.options import read_options
from services.entry.prefixes import Prefixes
from services.entry.routing import Routes, only
from services.entry.tasks.base import ParsedInput, Shown, StreamingTask, Task, Templates
from services.entry.tasks.media import NO_LIMITS, FileLimits
from services.entry.tasks.registry import TaskRegistry
from services.entry.tasks.schema import truth

NOWHERE: Final = Place(colo="", server="", address="", shard=0, epoch=0)
GOING_ON: Final = Bounds()
NOBODY: Final[Mapping[str, Meter]] = MappingProxyType({})
# Takes what a client sees together; what is returned, if anything, is waited for.
Show: TypeAlias = Callable[[Sequence[Shown]], Promise[None] | None]


class Served:
    """A model as calls find it, until the world changes."""

    __slots__ = ("bounds", "is_open", "is_spread", "model", "only", "rest", "task")

    def __init__(
        self,
        model: Model,
        task: Task,
        only: Place | None,
        bounds: TimeBounds,
        is_spread: bool,
        rest: Sequence[Model],
    ) -> None:
        self.model = model
        self.task = task
        self.only = only  # the one place, where there is no choice
        self.bounds = bounds
        self.is_open = model.access.accounts == "all" and not deprecated_from_ms(model)
        self.rest = rest  # of its chain of fallbacks
        self.is_spread = is_spread  # over several endpoints, so that it matters which one

    def __repr__(self) -> str:
        return f"<Served {self.model.name} at {self.only or 'the best place'}>"


class Gateway:
    """What happens to every call, whichever front it came through."""

    def __init__(
        self,
        *,
        colo: str,
        world: World,
        connections: Callable[[str], Inference],
        metrics: EntryMetrics,
        templates: Templates,
        clock: Clock,
        rng: random.Random,
        first_part_ceiling_s: float = 240.0,
        prefix_secret: str = "",
        continuing: Bounds = GOING_ON,
        server_wait_s: float = 10.0,
        files: FileLimits = NO_LIMITS,
        limited: Mapping[str, Meter] = NOBODY,
    ) -> None:
        """Count the calls of `limited` accounts against their limits."""
        self.colo = colo
        self._limited = limited
        self.refused: Counter[str] = Counter()  # by model, since boot
        self._world = world
        self._connections = connections
        self._metrics = metrics
        self._tasks = TaskRegistry(templates, files)
        self._routes = Routes(world=world, colo=colo, clock=clock)
        self._clock = clock
        self._ids = RequestIds(rng)
        self._ceiling_s = first_part_ceiling_s
        self._prefixes = Prefixes(prefix_secret)
        self._continuing = Continuing(
            colo=colo,
            routes=self._routes,
            connections=connections,
            bounds=continuing,
            metrics=metrics,
            clock=clock,
        )
        self._falling_back = FallingBack(
            colo=colo, world=world, plan=self._plan_for, metrics=metrics, clock=clock
        )
        self._server_wait_s = server_wait_s
        self._served: dict[str, Served] = {}
        world.listen(lambda _: self._served.clear())  # after the routes, which it is made of

    def __repr__(self) -> str:
        return f"<Gateway {self.colo} refused={self.refused.total()} {self._routes!r}>"

    def models(self, account: str) -> list[Model]:
        """Return what an account may run, by name."""
        models = (each for _, each in sorted(self._world.table(Model).items()))
        return [each for each in models if allowed(each, account)]

    def task(self, name: str, account: str) -> Task:
        """Return what a model does; raises UnknownModel, ModelNotAllowed."""
        served = self._served.get(name) or self._look_up(name)
        if not allowed(served.model, account):
            raise not_allowed(served.model, account)
        return served.task

    def plan(self, call: Call) -> Plan:
        """Check the call and decide everything that can be decided before it is sent.

        Raises UnknownModel, ModelNotAllowed, ModelDeprecated, LoraUnsupported,
        FinetuneIncomplete, BadInput, and what an account's limits say.
        """
        meter = self._limited.get(call.token.account)
        if meter is None:
            return self._plan_for(call, call.model)
        served = self._served.get(call.model) or self._look_up(call.model)
        clock = self._clock
        hold = meter.begin(served.task.name, clock.now(), clock.unix_ms())
        plan = self._plan_for(call, call.model)
        tokens_in, tokens_out = most_used(served.task.name, call.bytes_in, plan.parsed.values)
        hold.reserve(tokens_in, tokens_out, plan.model.price, plan.parsed.units)
        plan.hold = hold
        return plan

    def _plan_for(self, call: Call, name: str) -> Plan:
        """Plan a call for the model that it names, or for a fallback of that."""
        served = self._served.get(name) or self._look_up(name)
        task = served.task
        if call.sent is not None:
            call.body = task.read(call.sent)
        body = call.body
        plain = CONTROL_FIELDS.isdisjoint(body)  # as most bodies are: there is nothing to sort out
        fits = not call.tasks or task.name in call.tasks
        if not (fits and plain and served.is_open) or call.token.models:
            check_access(served.model, call, self._clock.unix_ms())
        parsed = task.parse(body if plain else _without(body, CONTROL_FIELDS))
        if plain and call.told is NOTHING:
            place = served.only or self._routes.to(served.model.name)
            request = self._envelope(call, served, parsed, place)
        else:
            place, request = self._as_told(call, served, parsed)
        if served.model.shards > 1 and request.prefix_hashes and not request.idempotency_key:
            place = self._by_prompt(request, place)
        return Plan(
            request=request,
            model=served.model,
            task=task,
            parsed=parsed,
            place=place,
            began=self._clock.now(),
            call=call,
        )

    async def run(self, plan: Plan) -> Answer:
        """Run the plan and return its one answer."""
        attempts = Attempts(plan, self._routes, self._clock, self._server_wait_s)
        try:
            place = plan.place or await attempts.another()
            while True:
                try:
                    server = self._connections(place.address)
                    is_special = place.is_watched or attempts.moved
                    request = attempts.request() if is_special else plan.request
                    reply = await server.infer(request)
                except RequestError as error:
                    failed = error  # and wait only once the handler is left
                else:
                    if place.is_watched:
                        attempts.answered(reply.outcome, plan.began)
                    plan.outcome = reply.outcome
                    if plan.hold is not None:
                        plan.hold.settle(reply.outcome.usage)
                    result = plan.task.render(plan.parsed, reply)
                    return Answer(result=result, outcome=reply.outcome)
                place = await attempts.after(failed)
        except RequestError as error:
            self._count(plan, error)
            self._falling_back.onward(plan, error, len(attempts.errors))
        return await self.run(plan)

    async def stream(self, plan: Plan, show: Show) -> None:
        """Run the plan and hand to `show` what the client sees, the last with the usage.

        Whatever is raised before the first results is a refusal; after it, the
        stream is broken, and could not go on elsewhere. Cancelling the call stops the model.
        """
        attempts = Attempts(plan, self._routes, self._clock, self._server_wait_s)
        assert isinstance(plan.task, StreamingTask), "no other plan is of a stream"
        renderer = plan.task.renderer(plan.parsed, self._continuing.keep_bytes)
        failed: RequestError | None
        has_begun = False

        def render(payloads: Sequence[bytes]) -> Promise[None] | None:
            nonlocal has_begun
            has_begun = True
            plan.parts += len(payloads)
            shown = renderer.parts(payloads)
            return show(shown) if shown else None

        try:
            place = plan.place or await attempts.another()
            while True:
                request = attempts.request()
                try:
                    server = self._connections(place.address)
                    outcome = await server.stream(request, render)
                    failed = None
                except RequestError as error:
                    failed = error  # and wait only once the handler is left
                if failed is None or has_begun or failed.sent:
                    break
                place = await attempts.after(failed)
            if failed is None:
                attempts.answered(outcome)
            else:
                attempts.broke(failed)
                go_on = self._continuing.go_on
                outcome = await go_on(plan, request, failed, renderer, render)
            plan.used(outcome)
            room = show([renderer.end(outcome)])
            if room is not None:
                await room
            return
        except RequestError as error:
            self._count(plan, error)
            self._falling_back.onward(plan, error, len(attempts.errors), has_begun=has_begun)
        await self.stream(plan, show)

    def _by_prompt(self, request: InferRequest, place: Place | None) -> Place | None:
        """Choose among the model's shards once more: its prompt is known only now."""
        chosen = self._routes.to(request.model, wish_of(request))
        if chosen is None or chosen is place:
            return place
        request.request_id = self.new_id(chosen.shard)
        request.shard = chosen.shard
        request.shard_epoch = chosen.epoch
        return chosen

    def new_id(self, shard: int = 0) -> str:
        """Return the id of a call that goes to this shard, or nowhere."""
        return self._ids.new(now_ms=self._clock.unix_ms(), shard=shard)

    def _count(self, plan: Plan, error: RequestError) -> None:
        if error.http in OVERLOADED:
            self.refused[plan.model.name] += 1
            self._metrics.refused_one(self.colo, plan.model.name)

    def _look_up(self, name: str) -> Served:
        """Return what is known of a model, and remember it until the world changes."""
        model = self._world.model(name)
        if model is None:
            raise UnknownModel(f"No such model {name[:200]} or task")
        self._served[name] = served = Served(
            model=model,
            task=self._tasks.of(model),
            only=only(self._routes.places.of(model.name)),
            bounds=time_bounds(model.timeouts, NO_BOUNDS, ceiling_s=self._ceiling_s),
            is_spread=self._routes.is_spread(model.name),
            rest=chain(model, self._world.model),
        )
        return served

    def _finetune(self, call: Call, model: Model) -> str:
        """Return the id of the finetune that the call names, if it fits; empty without one.

        It is what the model's node has linked the adapter as, too.
        """
        name = call.body.get("lora")
        if name is None:
            return ""
        if not isinstance(name, str) or not name:
            raise bad_input(["lora"], "expected the name or id of a finetune")
        if not model.lora.enabled:
            raise LoraUnsupported(f"{model.name} takes no LoRA, so not {name[:200]!r}")
        finetune = self._world.finetune(name, account=call.token.account)
        if finetune is None:
            raise bad_input(["lora"], f"there is no finetune {name[:200]!r} for this account")
        if self._world.model(finetune.model) is not model:
            raise bad_input(
                ["lora"], f"finetune {name!r} is for {finetune.model}, not {model.name}"
            )
        if not (finetune.is_complete or model.backend.external):  # which have their own
            raise FinetuneIncomplete(f"finetune {name!r} is missing required files")
        return finetune.id

    def _as_told(
        self, call: Call, served: Served, parsed: ParsedInput
    ) -> tuple[Place | None, InferRequest]:
        """Return where a call goes that says more than its input, and what is sent there."""
        model, told = served.model, call.told
        options = read_options(told.options, call.body.get("options"))
        adapter = self._finetune(call, model)
        stream = _wants_stream(call) and served.task.streams
        session = told.session or options.session
        place = served.only
        if place is None and told.idempotency_key:
            place = self._routes.keeper(model.name, call.token.account, told.idempotency_key)
        elif place is None:
            key, colo = affinity_key(session, adapter), options.preferred_colo
            wish = Wish(preferred=colo, key=key, background=options.background)
            place = self._routes.to(model.name, wish)
        priority = model.priority if options.priority is None else options.priority
        request = self._envelope(call, served, parsed, place, stream=stream, adapter=adapter)
        request.finetune = request.adapter = adapter
        request.session = session
        request.priority = min(priority, call.token.max_priority)
        request.background = options.background
        request.cost = permits_of(options.cost, model.permits, call.token.account)
        request.max_queue_ms = options.max_queue_ms
        request.reject_if_busy = options.reject_if_busy
        request.preferred_colo = options.preferred_colo
        request.time_bounds = tighter(served.bounds, tighter(told.bounds, options.bounds))
        request.retry_count = told.retry_count
        request.idempotency_key = told.idempotency_key
        request.request_source = told.source
        return place, request

    def _envelope(
        self,
        call: Call,
        served: Served,
        parsed: ParsedInput,
        place: Place | None,
        stream: bool = False,
        adapter: str = "",
    ) -> InferRequest:
        """Return what is sent to the first place for a call that has no wishes."""
        model, task = served.model, served.task
        first = place or NOWHERE
        request = InferRequest(
            request_id=self.new_id(first.shard),
            account=call.token.account,
            model=model.name,
            payload=task.payload(parsed, stream=stream, adapter=adapter),
        )
        request.payload_kind = task.payload_kind
        request.task = task.name
        request.stream = stream
        request.client_request_id = call.client_request_id
        request.priority = min(model.priority, call.token.max_priority)
        request.time_bounds = served.bounds
        request.source_colo = self.colo
        request.shard = first.shard
        request.shard_epoch = first.epoch
        request.units = parsed.units
        request.bytes_in = call.bytes_in
        request.traceparent = call.traceparent
        request.tracestate = call.tracestate
        if served.rest:
            request.falls_back = any(allowed(each, request.account) for each in served.rest)
        if served.is_spread and (prompt := task.prompt(parsed)):
            request.prefix_hashes = self._prefixes.of(
                prompt, account=request.account, adapter=adapter
            )
        return request


def _without(body: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def _wants_stream(call: Call) -> bool:
    if call.told.stream is not None:
        return call.told.stream
    wish = truth(call.body.get("stream", False))
    if not isinstance(wish, bool | None):
        raise bad_input(["stream"], "expected a boolean")
    return bool(wish)
