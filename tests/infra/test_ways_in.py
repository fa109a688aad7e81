"""azd, the pipeline and what is left out of the package."""

import re
import subprocess
from pathlib import Path

import pytest
from bicep_eval import read


@pytest.fixture(scope="module")
def azure_yaml(root: Path) -> str:
    return (root / "azure.yaml").read_text()


@pytest.fixture(scope="module")
def workflow(root: Path) -> str:
    return (root / ".github" / "workflows" / "deploy.yml").read_text()


def test_the_hooks_tell_the_address_and_how_to_read_the_key(azure_yaml: str) -> None:
    hook = azure_yaml[azure_yaml.index("postdeploy:") :]
    posix, windows = hook.split("windows:")
    for text in (posix, windows):
        assert "GATEWAY_URL" in text
        assert "az keyvault secret show" in text
        assert "--name gateway-admin-key" in text
    assert "shell: sh" in posix
    assert "shell: pwsh" in windows


def test_the_posix_hook_prints_what_to_do_next(azure_yaml: str) -> None:
    block = re.search(r"postdeploy:\n.*?run: \|\n(.*?)\n    windows:", azure_yaml, re.DOTALL)
    assert block
    environ = {
        "GATEWAY_URL": "https://gw.test",
        "AZURE_KEY_VAULT_NAME": "kv-test",
        "GATEWAY_VIRTUAL_KEYS": "main",
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", block[1]], env=environ, capture_output=True, text=True, check=True
    )
    assert "Gateway:      https://gw.test" in done.stdout
    assert "--vault-name kv-test --name gateway-admin-key" in done.stdout
    assert 'curl https://gw.test/v1/models -H "x-portkey-api-key: $GATEWAY_KEY"' in done.stdout


def test_the_hooks_use_only_outputs_of_the_template(azure_yaml: str, infra: Path) -> None:
    outputs = {d.name for d in read(infra / "main.bicep").declarations if d.kind == "output"}
    used = set(re.findall(r"\$(?:env:)?((?:AZURE|GATEWAY)_[A-Z_]+)", azure_yaml))
    assert used - {"GATEWAY_KEY"} <= outputs
    assert {"GATEWAY_URL", "AZURE_KEY_VAULT_NAME"} <= used


def test_azd_finds_the_app_by_its_tag(azure_yaml: str, infra: Path) -> None:
    service = re.search(r"services:\n  (\w+):", azure_yaml)
    assert service
    assert f"'azd-service-name': '{service[1]}'" in (infra / "modules" / "app.bicep").read_text()


def test_the_pipeline_signs_in_without_a_secret(workflow: str) -> None:
    assert "id-token: write" in workflow
    assert "--federated-credential-provider" in workflow
    assert "secrets." not in workflow


def test_the_pipeline_never_reads_the_admin_key(workflow: str) -> None:
    assert "AZURE_PRINCIPAL_TYPE: ServicePrincipal" in workflow
    assert "keyvault" not in workflow


def test_the_guide_names_every_parameter(root: Path, infra: Path) -> None:
    guide = (root / "docs" / "deploy.md").read_text()
    missing = [
        d.name
        for d in read(infra / "main.bicep").declarations
        if d.kind == "param" and f"`{d.name}`" not in guide
    ]
    assert missing == []


def test_the_guide_links_to_files_that_exist(root: Path) -> None:
    guide = root / "docs" / "deploy.md"
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", guide.read_text()):
        assert (guide.parent / link).exists(), link


def test_the_guide_links_to_headings_that_exist(root: Path) -> None:
    text = (root / "docs" / "deploy.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > 15
    assert set(links) <= anchors


def test_the_guide_says_what_each_step_costs_when_idle(root: Path) -> None:
    sections = re.split(r"^## ", (root / "docs" / "deploy.md").read_text(), flags=re.MULTILINE)
    steps = ["Way 1", "Way 2", "Way 3", "Models", "A second region", "Private network", "Callers", "Watch it"]
    steps += ["Rotate", "Upgrade", "Roll back", "Remove"]
    for step in steps:
        (section,) = [section for section in sections if section.startswith(step)]
        assert "*Idle cost:*" in section, step
