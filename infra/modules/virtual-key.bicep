// One virtual key for one account: where to go and how to sign in, with no key in it.

import { deploymentType, virtualKey } from 'types.bicep'

param vaultName string

@minLength(2)
@maxLength(40)
param name string

param resourceName string
param clientId string
param deployments deploymentType[]

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = {
  parent: vault
  name: 'vk-${name}'
  properties: {
    contentType: 'application/json'
    value: string(virtualKey(name, resourceName, clientId, deployments))
  }
}
