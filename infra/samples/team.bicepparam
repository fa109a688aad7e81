// Team: one instance always warm, two regions, alerts, a budget, shared limits without a private network.
using '../main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'gateway-team')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')
param operatorId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')

param alwaysReady = 1
param maximumInstanceCount = 100
param redis = true
param purgeProtection = true
param alertEmail = readEnvironmentVariable('GATEWAY_ALERT_EMAIL', '')
param monthlyBudget = 500

param accounts = [
  {
    name: 'main'
    deployments: [
      {
        name: 'gpt-5.4-mini'
        model: 'gpt-5.4-mini'
        version: '2026-03-17'
        sku: 'GlobalStandard'
        capacity: 200
        priority: 1
      }
      {
        name: 'text-embedding-3-small'
        model: 'text-embedding-3-small'
        version: '1'
        sku: 'GlobalStandard'
        capacity: 200
      }
      {
        name: 'gpt-image-2'
        model: 'gpt-image-2'
        version: '2026-04-21'
        sku: 'GlobalStandard'
        capacity: 4
      }
    ]
  }
  {
    // The second region takes over when the first one is throttled or down.
    name: 'second'
    location: 'eastus2'
    deployments: [
      {
        name: 'gpt-5.4-mini'
        model: 'gpt-5.4-mini'
        version: '2026-03-17'
        sku: 'GlobalStandard'
        capacity: 200
        priority: 2
      }
    ]
  }
]
