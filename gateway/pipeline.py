"""One call, top to bottom: `serve` rings once per call, `try_once` once per try.

The target tree says who is tried next; a try resolves the target to an endpoint, signs in, and sends.
What an upstream answers is a value; only the gateway's own faults are exceptions, and they stop here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import httpx

from gateway.adapters.virtual_keys import VirtualKeys
from gateway.call import Answer, Call, asked_of_target, of_prompt
from gateway.core.body import for_upstream
from gateway.core.errors import (
    BudgetExhausted,
    Forbidden,
    GatewayError,
    InternalError,
    InvalidRequest,
    RateLimited,
    StoreUnavailable,
    UpstreamBroken,
    UpstreamFault,
    UpstreamTimeout,
)
from gateway.core.health import HealthBoard, target_key
from gateway.core.ports import TokenSource
from gateway.core.record import Attempt
from gateway.core.retry import Outcome, Tries, attempt_count, next_delay, retry_after
from gateway.core.routing import Final, Skipped, route
from gateway.core.signals import NOTHING, read_signal
from gateway.core.sticky import Pins
from gateway.core.targets import PLAIN, Leaf
from gateway.core.virtual_key import VirtualKey
from gateway.limiter import Limiter
from gateway.plain_request import PlainRequest
from gateway.prompts.library import PromptLibrary
from gateway.providers.base import Endpoint
from gateway.providers.catalog import provider
from gateway.providers.endpoints import Asked, Gatekeeping, from_credentials, from_virtual_key
from gateway.upstream_answer import (
    MAX_ERROR_BYTES,
    decoded,
    fault_of,
    header_map,
    is_stream,
    is_whole,
    read_answer,
    read_whole,
    unpack_stream,
)
from gateway.upstream_headers import upstream_headers

# A stream whose first event is this late is begun all the same, so that pings keep it alive.
FIRST_EVENT = 10.0  # seconds


@dataclass(slots=True)
class Pipeline:
    """What serving a call takes; wired once."""

    transport: httpx.AsyncBaseTransport
    keys: VirtualKeys
    tokens: TokenSource
    health: HealthBoard
    pins: Pins
    rules: Gatekeeping
    prompts: PromptLibrary
    limiter: Limiter
    timeout: float  # seconds until an upstream must begin to answer, where nobody says
    clock: Callable[[], float]  # unix seconds
    timer: Callable[[], float]  # monotonic seconds
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]

    async def serve(self, call: Call) -> Answer:
        """The answer of the last target tried. Never raises a `GatewayError`: it is in the answer."""
        tree = call.config.tree if call.config is not None else PLAIN
        skipped: list[Skipped] = []
        steps = route(tree, call.route_input(), self.health, self.pins, self.random, skipped)
        answer = Answer(Outcome(500), InternalError("no target was tried"))
        try:
            leaf = next(steps)
            while True:
                if skipped:
                    self._note_skipped(call, skipped)
                answer = await self._try_leaf(call, leaf)
                leaf = steps.send(answer.outcome)
                answer.drop()
        except StopIteration as stop:
            self._note_skipped(call, skipped)
            return self._conclude(call, stop.value, answer)
        except GatewayError as error:  # no condition held
            return Answer(Outcome(error.status), error)
        finally:
            steps.close()

    def _conclude(self, call: Call, final: Final, answer: Answer) -> Answer:
        """Write down how routing went; all targets throttled is a 429 of our own."""
        record = call.record
        record.mode = final.mode
        if final.leaf is not None:
            record.option_index = final.leaf.path
            return answer
        wait = max(1, round((final.throttled_until or 0) - self.clock() + 0.5))
        error = RateLimited(
            f"every target is throttled by its upstream; the soonest is back in {wait} s",
            code="all_targets_throttled",
            headers={"retry-after": str(wait), "retry-after-ms": str(wait * 1000)},
        )
        return Answer(Outcome(error.status), error)

    def _note_skipped(self, call: Call, skipped: list[Skipped]) -> None:
        """A target that was not asked stands among the tries, where its turn was."""
        now = self.clock()
        call.record.attempts.extend(
            Attempt(skip.path, started_at=now, skipped=skip.state, message=skip.why) for skip in skipped
        )
        skipped.clear()

    async def _try_leaf(self, call: Call, leaf: Leaf) -> Answer:
        """Try one target until it answers well, or its retries are spent."""
        tries = Tries()
        while True:
            answer = await self._try_once(call, leaf)
            if isinstance(answer.error, RateLimited | BudgetExhausted):
                call.record.retry_count = tries.made - 1
                return answer  # a limit of the gateway's own: another target may do, trying again does not
            delay = next_delay(leaf.retry, tries, answer.outcome, self.random)
            if delay is None or self._open(call, leaf):
                call.record.retry_count = attempt_count(leaf.retry, tries, answer.outcome)
                return answer
            answer.drop()
            await self.sleep(delay)
            tries = Tries(tries.made + 1, tries.waited + delay)

    def _open(self, call: Call, leaf: Leaf) -> bool:
        """Whether this or another call's failure opened the circuit: no retry goes to a dead target."""
        if leaf.breaker is None:
            return False
        block = self.health.blocked(leaf, self._key(call, leaf), call.operation.name)
        return block is not None and block.state == "open"

    def _key(self, call: Call, leaf: Leaf) -> str:
        return target_key(leaf, call.asked.model, call.route_input().origin)

    async def _try_once(self, call: Call, leaf: Leaf) -> Answer:
        """One try, written down as an attempt, reported to the health board."""
        attempt = Attempt(leaf.path, started_at=self.clock())
        call.record.attempts.append(attempt)
        begun = self.timer()
        try:
            if leaf.prompt_id is not None:
                call = await self._of_prompt(call, leaf, leaf.prompt_id)
            answer = await self._send(call, leaf, attempt)
        except GatewayError as error:
            fault = isinstance(error, UpstreamFault | StoreUnavailable)
            stops = isinstance(error, InternalError) or error.ends_call
            answer = Answer(Outcome(error.status, fault=fault, stops=stops), error)
            attempt.error, attempt.message = error.code, error.message
        attempt.duration_ms = (self.timer() - begun) * 1000
        call.record.upstream_ms += attempt.duration_ms
        self._report(call, leaf, answer)
        return answer

    async def _of_prompt(self, call: Call, leaf: Leaf, prompt: str) -> Call:
        """The call as this target's own prompt makes it, of the same variables."""
        if call.prompt is None:
            raise InvalidRequest(
                f"{leaf.path}.prompt_id: only for requests to /v1/prompts/{{id}}/completions", param="config"
            )
        return of_prompt(call, await self.prompts.to_request(prompt, call.prompt))

    def _report(self, call: Call, leaf: Leaf, answer: Answer) -> None:
        signal = NOTHING
        if answer.response is not None and call.operation.scope != "none":
            signal = read_signal(answer.outcome.status, answer.headers, answer.body or b"", self.clock())
            if signal.content_filter:
                answer.outcome = replace(answer.outcome, content_filter=True)
        # What failed before anything was sent, a forbidden model or a vault that is away, says nothing of
        # the target.
        if answer.error is None or isinstance(answer.error, UpstreamFault):
            self.health.report(leaf, self._key(call, leaf), answer.outcome, signal, call.operation.name)

    async def _send(self, call: Call, leaf: Leaf, attempt: Attempt) -> Answer:
        timeout_ms = call.headers.request_timeout_ms or leaf.request_timeout_ms
        limit = timeout_ms / 1000 if timeout_ms else self.timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                answer = await self._exchange(call, leaf, attempt)
                if is_stream(answer):
                    unpack_stream(answer)
                    await self._first_event(answer, patient=timeout_ms is not None)
                elif answer.body is None and is_whole(answer):
                    # What was waited for has begun; the rest of it gets the gateway's own limit.
                    deadline.reschedule(asyncio.get_running_loop().time() + self.timeout)
                    await read_answer(answer, call)
                return answer
        except TimeoutError:
            told = (
                f"timeout sent in the request: {timeout_ms}ms"
                if timeout_ms
                else f"gateway's limit of {limit:g} s"
            )
            raise UpstreamTimeout(f"Request exceeded the {told}") from None
        except httpx.TransportError as error:
            raise fault_of(error) from error

    async def _exchange(self, call: Call, leaf: Leaf, attempt: Attempt) -> Answer:
        """Resolve, sign in, send; once more where a cached credential or a guess turned out stale."""
        ask_usage = call.operation.path in ("/chat/completions", "/completions")
        for last in (False, True):
            endpoint = await self._endpoint(call, leaf)
            _describe(attempt, call, endpoint)
            answer = await self._request(call, leaf, endpoint, attempt, ask_usage=ask_usage)
            if last or not await self._stale(endpoint, answer):
                return answer
            ask_usage = ask_usage and answer.outcome.status != 400
        raise AssertionError("unreachable")

    async def _request(
        self, call: Call, leaf: Leaf, endpoint: Endpoint, attempt: Attempt, *, ask_usage: bool
    ) -> Answer:
        kind = provider(endpoint.provider)
        address = kind.address(endpoint, call.operation, call.query)
        token = endpoint.secret or ""
        if endpoint.sign_in is not None:
            token = (await self.tokens.token(endpoint.sign_in)).token
        body = for_upstream(call.body, rules=leaf.params, model=address.model, ask_usage=ask_usage)
        headers = upstream_headers(call, leaf, endpoint, kind.authorize(endpoint, token))
        request = PlainRequest(call.operation.method, _url(address.url), headers, body.raw)
        response = await self.transport.handle_async_request(request)
        return await self._read(response, endpoint, attempt, asked_usage=body.asked_usage)

    async def _read(
        self, response: httpx.Response, endpoint: Endpoint, attempt: Attempt, *, asked_usage: bool
    ) -> Answer:
        headers = header_map(response.headers.raw)
        status = attempt.status = response.status_code
        attempt.request_id = headers.get("apim-request-id") or headers.get("x-request-id")
        attempt.region = headers.get("x-ms-region")
        outcome = Outcome(status, retry_after=retry_after(headers, self.clock()) if status >= 400 else None)
        answer = Answer(outcome, None, endpoint, response, headers, asked_usage=asked_usage)
        if status > 599:  # servers cannot even write such a line; RFC 9110 section 15
            answer.drop()
            raise UpstreamBroken(f"the upstream answered {status}, which is no status of HTTP")
        if status >= 400:
            raw = await read_whole(response, MAX_ERROR_BYTES)
            answer.body = decoded(raw, headers.get("content-encoding", ""))
        elif 300 <= status < 400:
            answer.drop()
            raise UpstreamBroken(f"the upstream answered {status}, a redirect, which is not followed")
        return answer

    async def _first_event(self, answer: Answer, *, patient: bool) -> None:
        """Wait for a stream's first bytes: until one is relayed, another target can still serve."""
        first = asyncio.ensure_future(answer.next_chunk())
        try:
            done, _ = await asyncio.wait({first}, timeout=None if patient else FIRST_EVENT)
        except asyncio.CancelledError:
            first.cancel()
            answer.drop()
            raise
        if done:
            answer.head.append(first.result())
            if not answer.head[0]:
                raise UpstreamBroken("the upstream answered with an empty stream", code="upstream_empty")
        else:
            answer.pending = first

    async def _endpoint(self, call: Call, leaf: Leaf) -> Endpoint:
        """Who serves: the target's own words, else the request's."""
        asked, images = asked_of_target(call.asked, leaf), call.operation.path.startswith("/images/")
        slug, host = asked.virtual_key, asked.custom_host
        call.caller.may_use(slug)
        if slug is not None:
            key = await self.keys.read(slug)
            self._check_expiry(key)
            endpoint = from_virtual_key(key, asked, self.rules, images=images, custom_host=host)
            _check_model(call, endpoint, asked, key)
            await self.limiter.admit(call, key.limits)
            return endpoint
        endpoint = from_credentials(
            asked.provider, asked.credentials, asked, self.rules, custom_host=host, token=asked.token
        )
        _check_model(call, endpoint, asked)
        await self.limiter.admit(call, None)
        return endpoint

    def _check_expiry(self, key: VirtualKey) -> None:
        if key.expires_at is not None and key.expires_at <= self.clock():
            raise Forbidden(f"virtual key {key.slug!r} has expired", code="virtual_key_expired")

    async def _stale(self, endpoint: Endpoint, answer: Answer) -> bool:
        """Whether the refusal may come from something the gateway remembered or guessed."""
        status = answer.outcome.status
        if status == 400:
            return answer.asked_usage and b"stream_options" in (answer.body or b"")
        if status != 401:
            return False
        if endpoint.sign_in is not None:
            return self.tokens.forget(endpoint.sign_in)
        return endpoint.virtual_key is not None and await self.keys.changed(endpoint.virtual_key)


def _url(text: str) -> httpx.URL:
    """Parsed once for each deployment and operation: parsing takes longer than the rest of a request."""
    try:
        # A long one has much of the client's in it: it would fill the cache and not be asked for again.
        return _parse_url(text) if len(text) <= 512 else httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidRequest(
            f"the URL for the upstream: {error}; see the query", code="invalid_url", param="query"
        ) from None


@lru_cache(maxsize=1024)
def _parse_url(text: str) -> httpx.URL:
    return httpx.URL(text)


def _check_model(call: Call, endpoint: Endpoint, asked: Asked, key: VirtualKey | None = None) -> None:
    """Hold the call to its key's list of models, by the names of the deployment that will serve it."""
    if call.caller.models is None:
        return
    names: list[str | None] = [endpoint.deployment or asked.model]
    for item in key.deployments if key is not None else ():
        if item.deployment == endpoint.deployment:
            names += item.names
    # Files, batches and the like name their models where nobody looks.
    call.caller.may_call(names if call.operation.scope != "none" else ())


def _describe(attempt: Attempt, call: Call, endpoint: Endpoint) -> None:
    attempt.provider = endpoint.provider
    attempt.virtual_key = endpoint.virtual_key
    attempt.deployment = endpoint.deployment
    attempt.resource = endpoint.host.name
    attempt.api_version = endpoint.api_version
    attempt.auth_mode = endpoint.auth_mode
