// The first admin key. It is written once: a later deployment finds the secret and leaves it alone.

param vaultName string

@secure()
param adminKey string

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: vaultName
}

// Top level, with a parent: nested in the vault, the decorator fails (github.com/Azure/bicep/issues/18603).
@onlyIfNotExists()
resource secret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = {
  parent: vault
  name: 'gateway-admin-key'
  properties: {
    contentType: 'text/plain'
    value: adminKey
  }
}
