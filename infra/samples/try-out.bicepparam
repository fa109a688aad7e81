// Try-out: one account, nothing that costs money while nobody calls. About what `azd up` does by itself.
using '../main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'gateway-try')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')
param operatorId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')

param maximumInstanceCount = 40
param logRetentionDays = 7
param telemetryCapGb = 1
