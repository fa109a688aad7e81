"""Counters in Redis, shared by all instances: one script and one round trip a call.

Windows are hashes, slot to amount, as in `core/windows.py`; budgets are plain numbers that hold what
is spent and what calls in flight claimed. A budget's number is forgotten after five minutes and taken
from the store again, so that what a killed instance claimed does not stay claimed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Claim, Refused, Settlement, Taken
from gateway.core.windows import SLOTS

log = logging.getLogger("gateway.limits")

# One hash tag: a script may touch keys of one slot only where Redis is a cluster.
PREFIX = "gateway:{limits}:"
_TIMEOUT = 0.5  # seconds a call waits for its counters
_PAUSE = 1.0  # seconds without a question after a failure, so that calls do not wait one after another
_BATCH = 200  # settlements in one script
_MOST_WAITING = 20_000

# Times in Redis's own seconds, so that instances whose clocks differ agree.
_TAKE = f"""
local now = tonumber(ARGV[1])
if now < 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local seeded = 0
for i, key in ipairs(KEYS) do
  local at = 4 * i - 2
  local window, limit, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if window == 0 then
    local spent = redis.call('GET', key)
    if not spent then
      spent = ARGV[at + 3]
      redis.call('SET', key, spent, 'EX', 300)
      seeded = 1
    end
    spent = tonumber(spent)
    if spent >= limit or spent + amount > limit then return {{0, i - 1, string.format('%.0f', spent), '0'}} end
  else
    local width = window / {SLOTS}
    local oldest = math.floor(now / width) - {SLOTS}
    local fields, sum, slots = redis.call('HGETALL', key), 0, {{}}
    for j = 1, #fields, 2 do
      local slot = tonumber(fields[j])
      if slot < oldest then
        redis.call('HDEL', key, fields[j])
      else
        sum = sum + tonumber(fields[j + 1])
        slots[#slots + 1] = {{slot, tonumber(fields[j + 1])}}
      end
    end
    if sum + amount > limit then
      table.sort(slots, function(a, b) return a[1] < b[1] end)
      local freed, wait = 0, window + width
      for _, entry in ipairs(slots) do
        freed = freed + entry[2]
        if freed >= sum + amount - limit then
          wait = (entry[1] + {SLOTS} + 1) * width - now
          break
        end
      end
      return {{0, i - 1, string.format('%.0f', sum), string.format('%.3f', wait)}}
    end
  end
end
local marks = {{}}
for i, key in ipairs(KEYS) do
  local at = 4 * i - 2
  local window, amount = tonumber(ARGV[at]), ARGV[at + 2]
  if window == 0 then
    if amount ~= '0' then redis.call('INCRBY', key, amount) end
    marks[i] = '0'
  else
    local slot = string.format('%.0f', math.floor(now / (window / {SLOTS})))
    redis.call('HINCRBY', key, slot, amount)
    redis.call('EXPIRE', key, math.ceil(window + window / {SLOTS}) + 1)
    marks[i] = slot
  end
end
return {{1, seeded, marks}}
"""

# What has left its window, or was forgotten, is not brought back by its settlement.
_SETTLE = """
for i, key in ipairs(KEYS) do
  local mark, change = ARGV[2 * i - 1], ARGV[2 * i]
  if mark == '' then
    if redis.call('EXISTS', key) == 1 then redis.call('INCRBY', key, change) end
  elseif redis.call('HEXISTS', key, mark) == 1 then
    redis.call('HINCRBY', key, mark, change)
  end
end
"""


class RedisCounters:
    """A `Counters`. `clock` is for tests of window edges; without it Redis's own counts."""

    def __init__(
        self, redis: Redis, *, timer: Callable[[], float], clock: Callable[[], float] | None = None
    ) -> None:
        # One retry, at once, is for a pooled connection that the server closed meanwhile.
        redis.set_retry(Retry(NoBackoff(), 1))
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._settle = redis.register_script(_SETTLE)
        self._timer, self._clock = timer, clock
        self._away_until = 0.0
        self._waiting: deque[Settlement] = deque(maxlen=_MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def take(self, claims: Sequence[Claim]) -> Taken | Refused:
        keys = [PREFIX + claim.key for claim in claims]
        arguments: list[Any] = [repr(self._clock()) if self._clock is not None else -1]
        for claim in claims:
            arguments += [claim.window, claim.limit, claim.amount, claim.spent]
        answer = await self._ask(lambda: self._take(keys=keys, args=arguments))
        if answer[0] == 0:
            return Refused(int(answer[1]), int(answer[2]), float(answer[3]))
        return Taken([int(mark) for mark in answer[2]], seeded=answer[1] == 1)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._waiting.extend(s for s in settlements if s.real != s.claim.amount)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def adjust(self, key: str, change: int) -> None:
        await self._ask(lambda: self._settle(keys=[PREFIX + key], args=["", change]))

    async def forget(self, key: str) -> None:
        await self._ask(lambda: self._redis.delete(PREFIX + key))

    async def aclose(self) -> None:
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _ask(self, command: Callable[[], Any]) -> Any:
        if self._timer() < self._away_until:
            raise StoreUnavailable("Redis did not answer a moment ago", code="limits_unavailable")
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await command()
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = self._timer() + _PAUSE
            raise StoreUnavailable(
                f"Redis, which counts for the limits, does not answer ({type(error).__name__})",
                code="limits_unavailable",
            ) from error

    async def _send(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            keys = [PREFIX + settlement.claim.key for settlement in batch]
            arguments: list[Any] = []
            for item in batch:
                arguments += [item.mark if item.claim.window else "", item.real - item.claim.amount]
            try:
                await self._ask(lambda keys=keys, args=arguments: self._settle(keys=keys, args=args))  # type: ignore[misc]
            except StoreUnavailable as error:
                # Windows forget by themselves, and budgets come from the store again.
                log.warning("limits.settle_failed", extra={"lost": len(batch), "error": error.message})
