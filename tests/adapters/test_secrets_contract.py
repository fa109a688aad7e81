"""One contract for secret stores: the sealed file, and Key Vault's own client against the emulator."""

import asyncio
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulators.certificates import Certificates, write_certificates
from emulators.key_vault import KeyVault
from emulators.server import Server
from gateway.adapters.secrets_key_vault import KeyVaultSecrets
from gateway.adapters.secrets_sealed import SealedFileSecrets
from gateway.core.errors import StoreUnavailable
from gateway.core.ports import SecretStore


class Token:
    """A credential of azure-core that always has a token."""

    async def get_token_info(self, *scopes: str, options: object = None) -> object:
        from azure.core.credentials import AccessTokenInfo

        return AccessTokenInfo("a-token", int(time.time()) + 3600)

    async def close(self) -> None:
        return


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["sealed file", "Key Vault"])
async def store(request, tmp_path: Path, certificates: Certificates) -> AsyncIterator[SecretStore]:
    if request.param == "sealed file":
        sealed = SealedFileSecrets(tmp_path, clock=time.time)
        yield sealed
        await sealed.aclose()
        return
    with Server(KeyVault(), tls=certificates) as server:
        vault = KeyVaultSecrets(
            server.url, Token(), verify_challenge_resource=False, connection_verify=str(certificates.ca)
        )
        yield vault
        await vault.aclose()


async def test_a_secret_is_written_read_and_written_anew(store):
    assert await store.get("vk-a") is None
    before = int(time.time())
    made = await store.put("vk-a", "one")
    assert (made.name, made.value) == ("vk-a", "one")
    assert before <= made.created_at <= made.updated_at
    assert (await store.get("vk-a")).value == "one"
    await store.put("vk-a", "two \u65e5 \n {}")
    assert (await store.get("vk-a")).value == "two \u65e5 \n {}"


async def test_a_deleted_name_is_free_again(store):
    assert await store.delete("vk-a") is False
    await store.put("vk-a", "one")
    assert await store.delete("vk-a") is True
    assert await store.get("vk-a") is None
    assert await store.delete("vk-a") is False
    assert await store.list("vk-") == []
    assert (await store.put("vk-a", "two")).value == "two"
    assert (await store.get("vk-a")).value == "two"


async def test_a_list_has_the_names_of_a_prefix_in_order_and_no_values(store):
    for name in ("vk-b", "other", "vk-a", *(f"vk-c{number:02}" for number in range(30))):
        await store.put(name, "value-nobody-may-see")
    listed = await store.list("vk-")
    assert [info.name for info in listed] == ["vk-a", "vk-b", *(f"vk-c{number:02}" for number in range(30))]
    assert "value-nobody-may-see" not in repr(listed)


async def test_no_value_shows_in_a_repr(store):
    assert "hush-hush" not in repr(await store.put("vk-a", "hush-hush"))


async def test_many_writes_at_once_are_all_kept(store):
    await asyncio.gather(*(store.put(f"vk-{number}", str(number)) for number in range(20)))
    assert len(await store.list("vk-")) == 20
    assert (await store.get("vk-7")).value == "7"


async def test_a_sealed_file_opens_in_another_process_and_folder(tmp_path):
    first = SealedFileSecrets(tmp_path / "a", clock=time.time)
    await first.put("vk-a", "one")
    second = SealedFileSecrets(tmp_path / "a", clock=time.time)
    assert (await second.get("vk-a")).value == "one"
    await second.put("vk-b", "two")
    assert (await first.get("vk-b")).value == "two"
    (tmp_path / "a").rename(tmp_path / "b")
    moved = SealedFileSecrets(tmp_path / "b", clock=time.time)
    assert (await moved.get("vk-a")).value == "one"


async def test_a_sealed_file_tells_nothing_and_its_key_is_the_owners(tmp_path):
    sealed = SealedFileSecrets(tmp_path, clock=time.time)
    await sealed.put("vk-name-nobody-may-see", "value-nobody-may-see")
    assert stat.S_IMODE((tmp_path / "secrets.key").stat().st_mode) == 0o600
    for path in tmp_path.iterdir():
        assert b"nobody-may-see" not in path.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 200])
async def test_a_damaged_sealed_file_is_a_clear_error_and_stays(tmp_path, damage):
    sealed = SealedFileSecrets(tmp_path, clock=time.time)
    await sealed.put("vk-a", "one")
    (tmp_path / "secrets.sealed").write_bytes(damage)
    again = SealedFileSecrets(tmp_path, clock=time.time)
    with pytest.raises(StoreUnavailable):
        await again.get("vk-a")
    with pytest.raises(StoreUnavailable):
        await again.put("vk-b", "two")
    assert (tmp_path / "secrets.sealed").read_bytes() == damage
