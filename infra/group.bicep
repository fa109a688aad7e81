// Everything the gateway needs, into a resource group that is there already:
//   az deployment group create --resource-group NAME --template-file infra/group.bicep
// main.bicep makes the resource group first and then uses this file.

targetScope = 'resourceGroup'

import { accountType, configOf, placesOf } from 'modules/types.bicep'

// --- where and what

@description('Region of everything but the accounts that name their own. It must offer Flex Consumption.')
param location string = resourceGroup().location

@description('Tags of every resource.')
param tags object = {}

@description('Azure OpenAI accounts and their deployments. Default: one account with a model for chat, for embeddings and for images.')
@minLength(1)
param accounts accountType[] = [
  {
    name: 'main'
    deployments: [
      {
        name: 'gpt-5.4-mini'
        model: 'gpt-5.4-mini'
        version: '2026-03-17'
        sku: 'GlobalStandard'
        capacity: 50
      }
      {
        name: 'text-embedding-3-small'
        model: 'text-embedding-3-small'
        version: '1'
        sku: 'GlobalStandard'
        capacity: 50
      }
      {
        name: 'gpt-image-2'
        model: 'gpt-image-2'
        version: '2026-04-21'
        sku: 'GlobalStandard'
        capacity: 2
      }
    ]
  }
]

@description('Write a virtual key (secret vk-NAME) for each account. Set it to false once you change these keys in the gateway itself, or a deployment puts them back.')
param writeVirtualKeys bool = true

@description('Let the gateway create, change and delete virtual keys. False: it can only read them.')
param manageVirtualKeys bool = true

@description('The first admin key, written to the vault as secret gateway-admin-key if there is none yet. The default has 244 random bits.')
@secure()
@minLength(32)
param adminKey string = format('gw-{0}{1}', replace(newGuid(), '-', ''), replace(newGuid(), '-', ''))

@description('Object id of the person or group that may read and write the secrets of the vault; empty: nobody.')
param operatorId string = ''

@description('What operatorId is. A service principal (a pipeline) gets no access to secrets.')
param operatorType 'User' | 'Group' | 'ServicePrincipal' = 'User'

// --- the app

@description('Python version of the app.')
param pythonVersion '3.11' | '3.12' | '3.13' = '3.13'

@description('Memory of an instance.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('The most instances the app may scale out to. Azure takes 40 or more for the plan.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are always running: no cold start, billed around the clock.')
@minValue(0)
@maxValue(20)
param alwaysReady int = 0

@description('Requests one instance serves at a time before another one is started.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 64

@description('Hosts (host[:port]) that virtual keys may name although they are private or not Azure\'s.')
param trustedHosts string[] = []

@description('Whether the log keeps requests and answers.')
param logBodies 'all' | 'none' = 'all'

@description('Days after which the gateway deletes its records.')
@minValue(1)
@maxValue(3650)
param logRetentionDays int = 30

@description('Largest request in megabytes; the Functions host takes no more than 100.')
@minValue(1)
@maxValue(100)
param maxBodyMb int = 100

@description('What the limits do while Redis is down: let requests pass, or refuse them.')
param limitsOnError 'open' | 'closed' = 'open'

@description('Days after which entries of the audit trail are deleted.')
@minValue(1)
@maxValue(3650)
param auditRetentionDays int = 365

@description('Which app roles and groups of Entra tokens have which scopes, as docs/keys.md shows it; empty: tokens may do nothing.')
param entraRoles object = {}

@description('JSON Schema of the metadata that every request must bring; empty: none.')
param metadataSchema object = {}

@description('More app settings, by name. No secrets here: they belong into the vault.')
param extraSettings object = {}

// --- options

@description('Put the app in a virtual network and close the public endpoints of everything, the app included.')
param privateNetwork bool = false

@description('With privateNetwork: leave the app itself (and publishing to it) reachable from the internet.')
param publicIngress bool = false

@description('Address range of the virtual network, /26 or larger.')
param addressPrefix string = '10.64.0.0/23'

@description('Azure Managed Redis: counters, cache and breaker state that all instances share.')
param redis bool = false

@description('Size of Redis.')
param redisSku string = 'Balanced_B0'

@description('Client id of the Entra application that callers get tokens for; empty: gateway keys only.')
param authClientId string = ''

@description('With authClientId: refuse every call without a token before it reaches the gateway (Easy Auth). False: tokens and gateway keys both work.')
param easyAuth bool = true

@description('E-mail address for alerts; empty: no alerts.')
param alertEmail string = ''

@description('Alert when more than this part of the requests ends with a 5xx status, in per cent.')
param serverErrorPercent int = 5

@description('Alert when more than this part of the requests ends with 429, in per cent.')
param throttledPercent int = 10

@description('Alert when the 95th percentile of the time to the response is above this, in milliseconds.')
param p95Milliseconds int = 20000

@description('With alertEmail: budget of the resource group a month, in the currency of the bill; 0: none.')
@minValue(0)
param monthlyBudget int = 0

@description('Start of the budget: the default is this month, which Azure wants for a new one.')
param budgetStart string = utcNow('yyyy-MM-01')

// --- what is kept

@description('Never let a deleted vault be purged before its time. Cannot be switched off again.')
param purgeProtection bool = false

@description('Copies of the records: LRS in one data centre, ZRS in three.')
param storageSku 'Standard_LRS' | 'Standard_ZRS' = 'Standard_LRS'

@description('Days Log Analytics keeps telemetry; the first 31 cost nothing.')
@minValue(30)
@maxValue(730)
param telemetryRetentionDays int = 30

@description('Gigabytes of telemetry a day after which no more is taken in; -1: no cap.')
param telemetryCapGb int = -1

// Thirteen letters and digits, the same for each deployment into this group: names are unique and within every limit.
var token = toLower(uniqueString(resourceGroup().id, location))

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${token}'
  location: location
  tags: tags
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    location: location
    tags: tags
    token: token
    privateNetwork: privateNetwork
    retentionInDays: telemetryRetentionDays
    dailyCapGb: telemetryCapGb
    appPrincipalId: identity.properties.principalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    location: location
    tags: tags
    name: 'st${token}'
    sku: storageSku
    privateNetwork: privateNetwork
    appPrincipalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: {
    location: location
    tags: tags
    name: 'kv-${token}'
    privateNetwork: privateNetwork
    purgeProtection: purgeProtection
    manageVirtualKeys: manageVirtualKeys
    appPrincipalId: identity.properties.principalId
    operatorId: operatorId
    operatorType: operatorType
    workspaceId: monitoring.outputs.workspaceId
  }
}

module adminKeySecret 'modules/admin-key.bicep' = {
  name: 'admin-key'
  params: { vaultName: vault.outputs.name, adminKey: adminKey }
}

// --- models

var newList = filter(accounts, account => empty(account.?resourceId))
var existingList = filter(accounts, account => !empty(account.?resourceId))

module newAccounts 'modules/openai.bicep' = [
  for account in newList: {
    name: 'openai-${account.name}'
    params: {
      name: 'oai-${token}-${account.name}'
      location: account.?location ?? location
      tags: tags
      deployments: account.deployments
      privateNetwork: privateNetwork
      appPrincipalId: identity.properties.principalId
      workspaceId: monitoring.outputs.workspaceId
    }
  }
]

// A resource id is /subscriptions/S/resourceGroups/G/providers/Microsoft.CognitiveServices/accounts/NAME.
module existingAccounts 'modules/openai-existing.bicep' = [
  for account in existingList: {
    name: 'openai-${account.name}'
    scope: resourceGroup(split(account.resourceId!, '/')[2], split(account.resourceId!, '/')[4])
    params: {
      name: last(split(account.resourceId!, '/'))
      appPrincipalId: identity.properties.principalId
    }
  }
]

module newKeys 'modules/virtual-key.bicep' = [
  for (account, i) in newList: if (writeVirtualKeys) {
    name: 'virtual-key-${account.name}'
    params: {
      vaultName: vault.outputs.name
      name: account.name
      resourceName: newAccounts[i].outputs.resourceName
      clientId: identity.properties.clientId
      deployments: account.deployments
    }
  }
]

module existingKeys 'modules/virtual-key.bicep' = [
  for (account, i) in existingList: if (writeVirtualKeys) {
    name: 'virtual-key-${account.name}'
    params: {
      vaultName: vault.outputs.name
      name: account.name
      resourceName: existingAccounts[i].outputs.resourceName
      clientId: identity.properties.clientId
      deployments: account.deployments
    }
  }
]

// --- options

module redisCache 'modules/redis.bicep' = if (redis) {
  name: 'redis'
  params: {
    location: location
    tags: tags
    name: 'redis-${token}'
    sku: redisSku
    privateNetwork: privateNetwork
    appPrincipalId: identity.properties.principalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  name: 'alerts'
  params: {
    location: location
    tags: tags
    token: token
    email: alertEmail
    workspaceId: monitoring.outputs.workspaceId
    serverErrorPercent: serverErrorPercent
    throttledPercent: throttledPercent
    p95Milliseconds: p95Milliseconds
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
  }
}

// --- private network

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  params: { location: location, tags: tags, token: token, addressPrefix: addressPrefix }
}

// Zone names of the public cloud: learn.microsoft.com/azure/private-link/private-endpoint-dns
var blobZone = 'privatelink.blob.${environment().suffixes.storage}'
var monitorZones = [
  'privatelink.monitor.azure.com'
  'privatelink.oms.opinsights.azure.com'
  'privatelink.ods.opinsights.azure.com'
  'privatelink.agentsvc.azure-automation.net'
  blobZone
]
var accountZones = [
  'privatelink.openai.azure.com'
  'privatelink.cognitiveservices.azure.com'
  'privatelink.services.ai.azure.com'
]
var tableZone = 'privatelink.table.${environment().suffixes.storage}'
var queueZone = 'privatelink.queue.${environment().suffixes.storage}'
var vaultZone = 'privatelink.vaultcore.azure.net'
var redisZone = 'privatelink.redis.azure.net'
var siteZone = 'privatelink.azurewebsites.net'

module zones 'modules/zones.bicep' = if (privateNetwork) {
  name: 'zones'
  params: {
    tags: tags
    vnetId: network!.outputs.vnetId
    names: union(monitorZones, accountZones, [blobZone, tableZone, queueZone, vaultZone, siteZone], redis ? [redisZone] : [])
  }
}

// Ids by name, not outputs: a lambda may not pick from a list of modules.
var accountLinks = map(accounts, account => {
  name: 'openai-${account.name}'
  id: account.?resourceId ?? resourceId('Microsoft.CognitiveServices/accounts', 'oai-${token}-${account.name}')
  group: 'account'
  zones: accountZones
})

module endpoints 'modules/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  params: {
    location: location
    tags: tags
    token: token
    subnetId: network!.outputs.endpointSubnetId
    links: concat(
      [
        { name: 'blob', id: storage.outputs.id, group: 'blob', zones: [blobZone] }
        { name: 'table', id: storage.outputs.id, group: 'table', zones: [tableZone] }
        { name: 'queue', id: storage.outputs.id, group: 'queue', zones: [queueZone] }
        { name: 'vault', id: vault.outputs.id, group: 'vault', zones: [vaultZone] }
        { name: 'monitor', id: monitoring.outputs.linkScopeId, group: 'azuremonitor', zones: monitorZones }
      ],
      accountLinks,
      redis ? [{ name: 'redis', id: redisCache!.outputs.id, group: 'redisEnterprise', zones: [redisZone] }] : []
    )
  }
  dependsOn: [zones, newAccounts]
}

module appEndpoint 'modules/endpoints.bicep' = if (privateNetwork) {
  name: 'app-endpoint'
  params: {
    location: location
    tags: tags
    token: token
    subnetId: network!.outputs.endpointSubnetId
    links: [{ name: 'app', id: app.outputs.id, group: 'sites', zones: [siteZone] }]
  }
  // One after the other: two endpoints at a time in a subnet can collide.
  dependsOn: [endpoints]
}

// --- the app

var clientId = identity.properties.clientId

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    location: location
    tags: tags
    token: token
    identityId: identity.id
    packageUrl: storage.outputs.packageUrl
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReady: alwaysReady
    httpConcurrency: httpConcurrency
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    publicIngress: !privateNetwork || publicIngress
    easyAuthClientId: easyAuth ? authClientId : ''
    workspaceId: monitoring.outputs.workspaceId
    insightsName: monitoring.outputs.insightsName
    settings: {
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: clientId
      AzureWebJobsStorage__blobServiceUri: storage.outputs.blobEndpoint
      AzureWebJobsStorage__queueServiceUri: storage.outputs.queueEndpoint
      AzureWebJobsStorage__tableServiceUri: storage.outputs.tableEndpoint
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${clientId};Authorization=AAD'
      AzureWebJobsDisableHomepage: 'true' // the host's welcome page tells what runs here
      AZURE_CLIENT_ID: clientId
      KEY_VAULT_URL: vault.outputs.uri
      GATEWAY_TABLES_URL: storage.outputs.tableEndpoint
      GATEWAY_BLOBS_URL: storage.outputs.blobEndpoint
      GATEWAY_TRUSTED_HOSTS: join(trustedHosts, ',')
      GATEWAY_LOG_BODIES: logBodies
      GATEWAY_LOG_RETENTION_DAYS: string(logRetentionDays)
      GATEWAY_MAX_BODY_MB: string(maxBodyMb)
      GATEWAY_LIMITS_ON_ERROR: limitsOnError
      GATEWAY_AUDIT_RETENTION_DAYS: string(auditRetentionDays)
      ...(empty(entraRoles) ? {} : { GATEWAY_ENTRA_ROLES: string(entraRoles) })
      ...(empty(metadataSchema) ? {} : { GATEWAY_METADATA_SCHEMA: string(metadataSchema) })
      ...(redis ? { GATEWAY_REDIS_URL: redisCache!.outputs.url } : {})
      ...(empty(authClientId) ? {} : { GATEWAY_ENTRA_TENANT_ID: tenant().tenantId, GATEWAY_ENTRA_AUDIENCE: authClientId })
      // Up to 3.12 the HTTP streams of the Python worker need it; from 3.13 they do not.
      ...(contains(['3.11', '3.12'], pythonVersion) ? { PYTHON_ENABLE_INIT_INDEXING: '1' } : {})
      ...extraSettings
    }
  }
  // Its first start reads storage, vault and models: roles and names must be there.
  dependsOn: [endpoints, adminKeySecret, newAccounts, existingAccounts, newKeys, existingKeys]
}

// --- what the person who deployed it needs; no secret is among them

output functionName string = app.outputs.name
output url string = app.outputs.url
output vaultName string = vault.outputs.name
output vaultUri string = vault.outputs.uri
output identityClientId string = clientId
output virtualKeyNames string[] = map(accounts, account => account.name)

@description('A gateway config for each model, with the deployments in their order of preference.')
output configs object = mapValues(groupBy(placesOf(accounts), place => place.model), places => configOf(places))
