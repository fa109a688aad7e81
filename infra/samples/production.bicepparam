// Production: private network and Redis, provisioned throughput first with pay-as-you-go as spill-over in
// two regions, records in three data centres. Publishing and calling need a machine in the network.
using '../main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'gateway-prod')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')
param operatorId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param operatorType = 'User'

param privateNetwork = true
param redis = true
param redisSku = 'Balanced_B1'
param alwaysReady = 2
param instanceMemoryMB = 2048
param maximumInstanceCount = 200
param storageSku = 'Standard_ZRS'
param purgeProtection = true
param limitsOnError = 'closed'
param logRetentionDays = 90
param telemetryRetentionDays = 90
param alertEmail = readEnvironmentVariable('GATEWAY_ALERT_EMAIL', '')
param monthlyBudget = 20000

param accounts = [
  {
    name: 'main'
    deployments: [
      {
        // Paid for by the hour, used or not: asked first.
        name: 'gpt-5.4-ptu'
        model: 'gpt-5.4'
        version: '2026-03-05'
        sku: 'GlobalProvisionedManaged'
        capacity: 50
        priority: 1
        isDefault: true
      }
      {
        name: 'gpt-5.4'
        model: 'gpt-5.4'
        version: '2026-03-05'
        sku: 'GlobalStandard'
        capacity: 300
        priority: 2
      }
      {
        name: 'text-embedding-3-small'
        model: 'text-embedding-3-small'
        version: '1'
        sku: 'GlobalStandard'
        capacity: 350
      }
      {
        name: 'gpt-image-2'
        model: 'gpt-image-2'
        version: '2026-04-21'
        sku: 'GlobalStandard'
        capacity: 6
      }
    ]
  }
  {
    name: 'second'
    location: 'eastus2'
    deployments: [
      {
        name: 'gpt-5.4'
        model: 'gpt-5.4'
        version: '2026-03-05'
        sku: 'GlobalStandard'
        capacity: 300
        priority: 3
      }
    ]
  }
]
