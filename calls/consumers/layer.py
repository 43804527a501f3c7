"""What carries notes between processes and sockets: Redis, which may be away.

What must never happen here: that a page gets no socket because nobody carries notes. Whoever joins a channel or a group while Redis is
away has joined; Redis is told of it once it answers again. Until then a socket learns of everything by its look every two seconds.
Only sending raises: whoever sends a note knows what its loss costs. A Redis that hangs, and closes nothing, is waited for by one note:
from then on it is away until it has answered a question of its own, and no page waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from channels_redis.utils import _wrap_close, decode_hosts
from redis.exceptions import ConnectionError as AwayError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as HangsError

AGAIN = 1.0  # seconds between two tries to reach a Redis that is away

logger = logging.getLogger(__name__)


class Notes(RedisPubSubChannelLayer):  # type: ignore[misc]  # reason: channels_redis ships no types
    """The channel layer of the settings."""

    def _get_layer(self) -> LoopNotes:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = LoopNotes(*self._args, **self._kwargs, channel_layer=self)
            _wrap_close(self, loop)
        layer: LoopNotes = self._layers[loop]
        return layer


class LoopNotes(RedisPubSubLoopLayer):  # type: ignore[misc]  # reason: as above
    """Its part in one event loop."""

    def __init__(self, hosts: list[Any], **kwargs: Any) -> None:
        super().__init__(hosts, **kwargs)
        self._shards = [Subscriptions(host, self) for host in decode_hosts(hosts)]


class Subscriptions(RedisSingleShardConnection):  # type: ignore[misc]  # reason: as above
    """One loop's connection: what is wanted of Redis is kept here, and told again until Redis has it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._wanted: set[str] = set()
        self._settling: asyncio.Task[None] | None = None

    @property
    def _is_away(self) -> bool:
        return self._settling is not None and not self._settling.done()

    async def publish(self, channel: str, message: bytes) -> None:
        """Raises RedisError and OSError; at once while Redis is known to be away."""
        self._require_there()
        async with self._lock:
            self._require_there()  # whoever had the lock may have found out
            self._ensure_redis()
            try:
                await self._redis.publish(channel, message)
            except (TimeoutError, HangsError) as error:
                self._went_away(error)
                raise

    def _require_there(self) -> None:
        if self._is_away:
            raise AwayError("Redis is away")

    async def subscribe(self, channel: str) -> None:
        """Never raises because Redis is away."""
        self._wanted.add(channel)
        await self._tell()

    async def unsubscribe(self, channel: str) -> None:
        """Never raises because Redis is away."""
        self._wanted.discard(channel)
        await self._tell()

    async def flush(self) -> None:
        """Forget everything and hang up."""
        self._wanted.clear()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        await super().flush()

    async def _tell(self) -> None:
        if self._is_away:
            return
        try:
            await self._differences()
        except (RedisError, OSError) as error:
            self._went_away(error)

    def _went_away(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("Redis is away (%s): pages look by themselves", type(error).__name__)
            self._settling = asyncio.create_task(self._settle(), name="waits for Redis")

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(AGAIN)
            try:
                await self._redis.ping()  # to subscribe, it is only written to
                await self._differences()
            except (RedisError, OSError):
                continue
            logger.warning("Redis is back")
            return

    async def _differences(self) -> None:
        """Tell Redis what is wanted and what is not any more."""
        while missing := self._wanted - self._subscribed_to:
            await super().subscribe(missing.pop())
        while surplus := self._subscribed_to - self._wanted:
            await super().unsubscribe(surplus.pop())

    async def _do_receiving(self) -> None:
        """Pass on what arrives, until cancelled. A connection that breaks is opened again by the next look, with all that was subscribed."""
        while True:
            try:
                if self._pubsub and self._pubsub.subscribed:
                    self._receive_message(await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1))
                else:
                    await asyncio.sleep(0.1)
            except (RedisError, OSError) as error:
                logger.warning("Redis does not answer (%s)", type(error).__name__)
                await asyncio.sleep(AGAIN)
