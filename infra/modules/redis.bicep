// Azure Managed Redis with Entra sign-in: counters, cache and breaker state that all instances share.

param location string
param tags object

@minLength(1)
@maxLength(30)
param name string

param sku string
param privateNetwork bool
param appPrincipalId string
param workspaceId string

resource cache 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: 'Enabled'
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cache
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    clusteringPolicy: 'EnterpriseCluster' // one endpoint: clients need to know nothing of clusters
    evictionPolicy: 'VolatileLRU' // the cache may go, the counters without an expiry stay
    accessKeysAuthentication: 'Disabled'
  }
}

resource access 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = {
  parent: database
  name: 'gateway'
  properties: {
    accessPolicyName: 'default'
    user: { objectId: appPrincipalId }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: cache
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

output id string = cache.id
// The user name is the object id of the principal that signs in; there is no password, so a token is fetched.
output url string = 'rediss://${appPrincipalId}@${cache.properties.hostName}:${database.properties.port}'
