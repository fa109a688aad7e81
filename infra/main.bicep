// A resource group and everything the gateway needs in it: what `azd up` deploys.
//   az deployment sub create --location REGION --template-file infra/main.bicep
// For a resource group that is there already, and for what each part does, see group.bicep.

targetScope = 'subscription'

import { accountType } from 'modules/types.bicep'

// --- where and what

@description('Name of the environment; the resource group and the tags carry it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything but the accounts that name their own. It must offer Flex Consumption.')
@metadata({ azd: { type: 'location' } })
param location string

@description('Name of the resource group; it is made if it is not there.')
@minLength(1)
@maxLength(90)
param resourceGroupName string = 'rg-${environmentName}'

@description('More tags for every resource.')
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

var allTags = union(tags, { 'azd-env-name': environmentName })

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: resourceGroupName
  location: location
  tags: allTags
}

module gateway 'group.bicep' = {
  name: 'gateway'
  scope: group
  params: {
    location: location
    tags: allTags
    accounts: accounts
    writeVirtualKeys: writeVirtualKeys
    manageVirtualKeys: manageVirtualKeys
    adminKey: adminKey
    operatorId: operatorId
    operatorType: operatorType
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReady: alwaysReady
    httpConcurrency: httpConcurrency
    trustedHosts: trustedHosts
    logBodies: logBodies
    logRetentionDays: logRetentionDays
    maxBodyMb: maxBodyMb
    limitsOnError: limitsOnError
    auditRetentionDays: auditRetentionDays
    entraRoles: entraRoles
    metadataSchema: metadataSchema
    extraSettings: extraSettings
    privateNetwork: privateNetwork
    publicIngress: publicIngress
    addressPrefix: addressPrefix
    redis: redis
    redisSku: redisSku
    authClientId: authClientId
    easyAuth: easyAuth
    alertEmail: alertEmail
    serverErrorPercent: serverErrorPercent
    throttledPercent: throttledPercent
    p95Milliseconds: p95Milliseconds
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
    purgeProtection: purgeProtection
    storageSku: storageSku
    telemetryRetentionDays: telemetryRetentionDays
    telemetryCapGb: telemetryCapGb
  }
}

// azd keeps these in .azure/NAME/.env; no secret is among them.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = gateway.outputs.functionName
output AZURE_KEY_VAULT_NAME string = gateway.outputs.vaultName
output AZURE_KEY_VAULT_ENDPOINT string = gateway.outputs.vaultUri
output SERVICE_GATEWAY_NAME string = gateway.outputs.functionName
output GATEWAY_URL string = gateway.outputs.url
output GATEWAY_IDENTITY_CLIENT_ID string = gateway.outputs.identityClientId
output GATEWAY_VIRTUAL_KEYS string = join(gateway.outputs.virtualKeyNames, ',')

@description('A gateway config for each model, with the deployments in their order of preference (JSON).')
output GATEWAY_CONFIGS string = string(gateway.outputs.configs)
