// A new Azure OpenAI account with its deployments; the app may call them.

import { deploymentType } from 'types.bicep'

@minLength(2)
@maxLength(64)
param name string

param location string
param tags object
param deployments deploymentType[]
param privateNetwork bool
param appPrincipalId string
param workspaceId string

var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd' // Cognitive Services OpenAI User

resource account 'Microsoft.CognitiveServices/accounts@2026-07-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    customSubDomainName: name // Entra sign-in needs it
    disableLocalAuth: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: { defaultAction: privateNetwork ? 'Deny' : 'Allow' }
  }
}

// One at a time: the account refuses changes of two deployments at once.
@batchSize(1)
resource models 'Microsoft.CognitiveServices/accounts/deployments@2026-07-01' = [
  for item in deployments: {
    parent: account
    name: item.name
    sku: { name: item.sku, capacity: item.capacity }
    properties: {
      model: { format: 'OpenAI', name: item.model, version: item.version }
      // Stays on the tested version, and moves on only when that one is retired.
      versionUpgradeOption: 'OnceCurrentVersionExpired'
      raiPolicyName: item.?contentFilter ?? 'Microsoft.DefaultV2'
    }
  }
]

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, appPrincipalId, openAiUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

output id string = account.id
output resourceName string = account.properties.customSubDomainName
