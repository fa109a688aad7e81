"""The environment as settings: every fault named at once, no secret shown."""

import dataclasses

import pytest

from gateway.settings import Settings, SettingsError, names


def test_nothing_set_is_the_local_gateway():
    settings = Settings.from_environ({})
    assert settings == Settings()
    assert (settings.key_vault_url, settings.data_dir, settings.in_azure_storage) == (None, ".gateway", False)
    assert settings.max_body_bytes == 100 * 1024 * 1024


def test_an_empty_value_is_none():
    assert Settings.from_environ(dict.fromkeys(names(), "  ")) == Settings()


GOOD = {
    "GATEWAY_MAX_BODY_MB": ("7", "max_body_mb", 7),
    "KEY_VAULT_URL": ("https://v.vault.azure.net/", "key_vault_url", "https://v.vault.azure.net"),
    "GATEWAY_TRUSTED_HOSTS": (
        " LLM.internal , 127.0.0.1:8080,",
        "trusted_hosts",
        {"llm.internal", "127.0.0.1:8080"},
    ),
    "GATEWAY_LOG_BODIES": ("None", "log_bodies", "none"),
    "GATEWAY_LOG_RETENTION_DAYS": ("365", "log_retention_days", 365),
}


@pytest.mark.parametrize(("name", "given"), GOOD.items(), ids=GOOD)
def test_what_is_read(name, given):
    text, field, value = given
    assert getattr(Settings.from_environ({name: text}), field) == value


BAD = {
    "KEY_VAULT_URL": ["http://v.vault.azure.net", "v.vault.azure.net", "https://"],
    "GATEWAY_LOG_BODIES": ["some"],
    "GATEWAY_LOG_RETENTION_DAYS": ["0", "-1", "1.5", "soon", "9" * 30, "\u00b2"],
    "GATEWAY_MAX_BODY_MB": ["0", "2000", "nan"],
    "GATEWAY_UPSTREAM_TIMEOUT_S": ["0", "nan", "inf", "-1", "soon"],
    "GATEWAY_TRUSTED_HOSTS": ["https://llm.internal", "user@llm.internal", "a b"],
    "GATEWAY_REDIS_URL": ["http://redis", "redis"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_named_by_its_setting(name, text):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: text})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [name]


def test_every_fault_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: texts[0] for name, texts in BAD.items()})
    assert {problem.partition(":")[0] for problem in caught.value.problems} == set(BAD)


@pytest.mark.parametrize("name", ["GATEWAY_TABLES_URL", "GATEWAY_BLOBS_URL"])
def test_half_of_a_pair_names_the_other_half(name):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: "https://s.example"})
    other = {"GATEWAY_TABLES_URL", "GATEWAY_BLOBS_URL"} - {name}
    assert other.pop() in str(caught.value)


def test_no_secret_shows_in_a_repr_or_an_error():
    secrets = {name: "hush-0123456789" for name, facts in names().items() if facts["secret"]}
    secrets["GATEWAY_REDIS_URL"] = "redis://:hush-0123456789@localhost"
    settings = Settings.from_environ({**secrets, "GATEWAY_ADMIN_KEY": "gw-hush-0123456789"})
    assert "hush" not in repr(settings)
    assert "hush" in str(dataclasses.asdict(settings))
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"GATEWAY_REDIS_URL": "http://:hush-0123456789@localhost"})
    assert "hush" not in str(caught.value)
