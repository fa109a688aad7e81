"""azd, the pipeline and what is left out of the package."""

import re
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
