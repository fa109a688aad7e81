"""The one file that chooses: Azure or local, and which parts the gateway is made of."""

import asyncio
import logging
import os
import random
import secrets
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.adapters.api_keys import ApiKeys
from gateway.adapters.audit import AuditTrail
from gateway.adapters.budgets import Budgets
from gateway.adapters.config_source import ConfigSource
from gateway.adapters.entra_callers import EntraCallers, Tenant
from gateway.adapters.entra_tokens import EntraTokens, credential_for
from gateway.adapters.fetch import fetch
from gateway.adapters.health_sync import HealthSync
from gateway.adapters.limits_memory import MemoryCounters
from gateway.adapters.prices import PriceTable
from gateway.adapters.recorder import BackgroundRecorder
from gateway.adapters.recorder import Limits as RecorderLimits
from gateway.adapters.saved_configs import SavedConfigs
from gateway.adapters.secret_cache import SecretCache
from gateway.adapters.telemetry import Telemetry, telemetry
from gateway.adapters.upstream import UpstreamTransport
from gateway.adapters.virtual_keys import VirtualKeys
from gateway.api.analytics import AnalyticsApi
from gateway.api.api_keys import ApiKeyApi
from gateway.api.audit import AuditApi, Auditor
from gateway.api.configs import ConfigApi
from gateway.api.feedback import FeedbackApi
from gateway.api.health import HealthApi
from gateway.api.log_exports import LogExportApi
from gateway.api.logs import LogApi
from gateway.api.models import ModelApi
from gateway.api.probe import probe
from gateway.api.prompt_labels import CollectionApi, LabelApi
from gateway.api.prompt_partials import PartialApi
from gateway.api.prompts import PromptApi
from gateway.api.routing import Route, Router
from gateway.api.traces import TraceApi
from gateway.api.virtual_keys import VirtualKeyApi
from gateway.app import Gateway
from gateway.auth import ADMIN_SECRET, KEY_PREFIX, Authenticator
from gateway.core.config_checks import ConfigLimits
from gateway.core.cost import pricer
from gateway.core.health import HealthBoard
from gateway.core.ids import record_id
from gateway.core.log_entry import Encoder
from gateway.core.ports import Counters, DocumentStore, RecordStore, SecretStore, SignIn
from gateway.core.redaction import Redaction
from gateway.core.sticky import Pins
from gateway.limiter import Limiter, SettlingRecorder
from gateway.pipeline import Pipeline
from gateway.prompts.library import PromptLibrary
from gateway.providers.endpoints import Gatekeeping
from gateway.relay import Relay
from gateway.request_body import Bodies
from gateway.settings import Settings

log = logging.getLogger("gateway")


@dataclass(slots=True)
class Services:
    """The gateway and what must be closed after it."""

    gateway: Gateway
    secrets: SecretCache
    recorder: BackgroundRecorder
    records: RecordStore
    documents: DocumentStore
    transport: UpstreamTransport
    tokens: EntraTokens
    health_sync: HealthSync | None  # None: this instance keeps what it knows to itself
    limiter: Limiter
    trail: AuditTrail
    callers: Sequence[ApiKeys | EntraCallers]
    telemetry: Telemetry | None
    retention_days: int

    async def purge(self) -> int:
        """Delete records past their time; how many there were. Any instance may, or all."""
        return await self.records.purge(time.time() - self.retention_days * 86_400)

    async def aclose(self) -> None:
        """Stop in order: what was answered is recorded before the stores close."""
        await self.recorder.aclose()
        if self.telemetry is not None:
            await self.telemetry.aclose()
        if self.health_sync is not None:
            await self.health_sync.aclose()
        for source in self.callers:
            await source.aclose()
        await self.limiter.aclose()
        await self.trail.aclose()
        for part in (self.records, self.documents, self.secrets, self.tokens, self.transport):
            await part.aclose()


def compose(settings: Settings) -> Services:
    """Build everything. Must run on the event loop that will serve; opens no connection yet."""
    folder = Path(settings.data_dir)
    store = secret_store(settings, folder)
    cache = SecretCache(store, clock=time.monotonic)
    keys = VirtualKeys(cache)
    rules = Gatekeeping(settings.trusted_hosts, settings.azure_client_id)
    transport = UpstreamTransport(settings.trusted_hosts)
    tokens = EntraTokens(clock=time.time)
    records, documents = stores(settings, folder)
    redaction = Redaction.parse(settings.redact or "")
    price = pricer(PriceTable())
    encoder = Encoder(price, redaction, keep_bodies=settings.log_bodies == "all")
    traces = telemetry(os.environ, settings.otel_capture_content == "true")
    # In Azure each write of the running minute's totals is paid for: they may be ten seconds old there.
    waits = RecorderLimits(totals_seconds=10.0 if settings.in_azure_storage else 1.0)
    part = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    recorder = BackgroundRecorder(records, encoder, part, waits, observe=traces)
    health = HealthBoard(time.time)
    pins = Pins(time.time, health.publish)
    limits = ConfigLimits(settings.config_nesting, settings.config_targets, settings.config_kib * 1024)
    limiter = Limiter(
        counters(settings, tokens),
        Budgets(documents, clock=time.time),
        price=price,
        clock=time.time,
        fail_open=settings.limits_on_error == "open",
    )
    api_keys = ApiKeys(documents, clock=time.time)
    trail = AuditTrail(documents, retention_days=settings.audit_retention_days, clock=time.time)
    configs = SavedConfigs(documents, time.time, lambda: secrets.token_hex(16), limits=limits)
    prompts = PromptLibrary(documents, time.monotonic, lambda: str(uuid.uuid4()))
    pipeline = Pipeline(
        transport=transport,
        keys=keys,
        tokens=tokens,
        health=health,
        pins=pins,
        rules=rules,
        prompts=prompts,
        limiter=limiter,
        timeout=settings.upstream_timeout_s,
        clock=time.time,
        timer=time.perf_counter,
        random=random.random,
        sleep=asyncio.sleep,
    )
    virtual_keys = VirtualKeyApi(
        cache,
        keys,
        rules=rules,
        clock=time.time,
        random_hex=lambda: secrets.token_hex(3),
        probe=lambda key: probe(pipeline, key),
        usage=limiter.usage,
        reset=limiter.reset,
    )
    key_api = ApiKeyApi(
        api_keys,
        clock=time.time,
        random=lambda: secrets.token_urlsafe(32),
        new_id=lambda: str(uuid.uuid4()),
        usage=limiter.usage,
        reset=limiter.reset,
    )
    routes: list[Route] = [
        *virtual_keys.routes(),
        *ModelApi(cache, keys).routes(),
        *ConfigApi(configs).routes(),
        *HealthApi(health).routes(),
        *LogApi(records, recorder, time.time, lambda at: record_id(at, os.urandom(10))).routes(),
        *LogExportApi(records, documents, time.time, lambda: secrets.token_urlsafe(32)).routes(),
        *FeedbackApi(records, time.time, lambda: str(uuid.uuid4())).routes(),
        *TraceApi(records).routes(),
        *AnalyticsApi(records, time.time).routes(),
        *PromptApi(prompts).routes(),
        *PartialApi(prompts).routes(),
        *LabelApi(prompts).routes(),
        *CollectionApi(prompts).routes(),
        *key_api.routes(),
        *AuditApi(trail, clock=time.time).routes(),
    ]
    entra = entra_callers(settings, transport)
    callers: list[ApiKeys | EntraCallers] = [api_keys, *([entra] if entra is not None else [])]
    gateway = Gateway(
        authenticator=Authenticator(
            cache, admin_key=settings.admin_key, lookups=[source.lookup for source in callers]
        ),
        router=Router(routes),
        pipeline=pipeline,
        relay=Relay(SettlingRecorder(limiter, recorder), time.perf_counter),
        configs=ConfigSource(configs, limits),
        bodies=Bodies(settings.max_body_bytes),
        keep_bodies=settings.log_bodies == "all",
        clock=time.time,
        timer=time.perf_counter,
        random_bits=random.getrandbits,
        audit=Auditor(trail, clock=time.time),
        metadata_schema=settings.metadata_schema,
    )
    sync = health_sync(settings, health, pins, tokens)
    return Services(
        gateway,
        cache,
        recorder,
        records,
        documents,
        transport,
        tokens,
        sync,
        limiter,
        trail,
        callers,
        traces,
        settings.log_retention_days,
    )


def counters(settings: Settings, tokens: EntraTokens) -> Counters:
    """Where limits are counted: in Redis for all instances, or in memory for this one."""
    if settings.redis_url is None:
        return MemoryCounters(time.time)
    from gateway.adapters.limits_redis import RedisCounters
    from gateway.adapters.redis_client import connect

    redis = connect(settings.redis_url, tokens, settings.azure_client_id)
    return RedisCounters(redis, timer=time.monotonic)


def entra_callers(settings: Settings, transport: UpstreamTransport) -> EntraCallers | None:
    """Callers by tokens of a tenant, where one is named."""
    if settings.entra_tenant_id is None:
        return None
    tenant = Tenant(settings.entra_tenant_id, settings.entra_audience, settings.entra_authority)
    return EntraCallers(tenant, settings.entra_roles, fetch=partial(fetch, transport), clock=time.time)


def health_sync(
    settings: Settings, health: HealthBoard, pins: Pins, tokens: EntraTokens
) -> HealthSync | None:
    """Started exchange of what instances know of targets, where there is a Redis for it."""
    if settings.redis_url is None:
        return None
    from gateway.adapters.health_redis import RedisExchange
    from gateway.adapters.redis_client import connect

    redis = connect(settings.redis_url, tokens, settings.azure_client_id)
    sync = HealthSync(health, pins, RedisExchange(redis, secrets.token_hex(8), time.time))
    sync.start()
    return sync


def secret_store(settings: Settings, folder: Path) -> SecretStore:
    """Key Vault where it is named, else the sealed file."""
    if settings.key_vault_url is None:
        from gateway.adapters.secrets_sealed import SealedFileSecrets

        return SealedFileSecrets(folder, clock=time.time)
    from gateway.adapters.secrets_key_vault import key_vault

    return key_vault(
        settings.key_vault_url, credential_for(SignIn("managed", "", client_id=settings.azure_client_id))
    )


def stores(settings: Settings, folder: Path) -> tuple[RecordStore, DocumentStore]:
    """Azure Storage where it is named, else SQLite."""
    if settings.in_azure_storage:
        return _azure_stores(settings)
    from gateway.adapters.documents_sqlite import SqliteDocuments
    from gateway.adapters.records_sqlite import SqliteRecords

    return SqliteRecords(folder), SqliteDocuments(folder, time.time)


def _azure_stores(settings: Settings) -> tuple[RecordStore, DocumentStore]:
    """With the connection string where there is one, else with this app's identity."""
    from azure.identity import ManagedIdentityCredential

    from gateway.adapters.azure_storage import StorageAccount
    from gateway.adapters.documents_azure import AzureDocuments
    from gateway.adapters.records_azure import AzureRecords

    account = StorageAccount(
        settings.storage_connection_string,
        settings.tables_url,
        settings.blobs_url,
        None
        if settings.storage_connection_string
        else ManagedIdentityCredential(client_id=settings.azure_client_id),
    )
    return AzureRecords(account), AzureDocuments(account, time.time)


async def ensure_admin_key(services: Services, settings: Settings) -> tuple[str, bool]:
    """(key, made just now) of a local gateway: the setting's, the stored one, or a new one."""
    if settings.admin_key:
        return settings.admin_key, False
    stored = await services.secrets.get(ADMIN_SECRET)
    if stored is not None and stored.value:
        return stored.value, False
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    await services.secrets.store.put(ADMIN_SECRET, key)
    services.secrets.forget(ADMIN_SECRET)
    return key, True


def quiet_logs(names: Sequence[str] = ("uvicorn.access", "httpx", "azure", "azure_functions_worker")) -> None:
    """Loggers that would print URLs (function keys stand in them), or a line for each request."""
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The Functions worker configures uvicorn after the app is imported, and that sets the level anew.
    logging.getLogger("uvicorn.access").addFilter(_is_warning)


def _is_warning(line: logging.LogRecord) -> bool:
    return line.levelno >= logging.WARNING
